"""A random BERT of 2 layers x 32 with its own small WordPiece vocabulary: a base model that trains in a second."""

from __future__ import annotations

from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORD_LIST = """
a about account after again all am an and any app are at atm back bad balance bank be been believe best big blue
book but buy by came can card cash change charge charged check city close cold cost could credit currency day days
dear debit did do does done down english even ever everything exchange failed fast fee film find fine first food
for free from funds get good great green had happy has have help hello here hotel how i if in is it its just know
late like long look lost love made make many me money more movie much my need never new next nice no not now of off
old on one only open or order our out over paid pay payment pending people phone pin place please poor price
question quick rate really red refund room sad same say see send service she short should show slow small so some
soon still stolen such take terrible than thank that the their them then there they thing this time to today top
transfer trip try two up us use very wait want was way we week well were what when where which who why will with
word work world worst would wrong year yes yet you your
"""
PUNCTUATION = ".,!?'-:;"
CJK = "你好不我是的很酒店房间服务差卡钱银行今天"


def build_tiny_base(folder: Path, seed: int = 0) -> Path:
    """Write a tiny base model (config, safetensors, fast tokenizer) into `folder`, the same bytes for the same seed."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = tiny_vocabulary()
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    _write_tokenizer(folder, vocabulary)
    return folder


def tiny_vocabulary() -> list[str]:
    """Whole words, then every letter and digit at a word's start and inside it, so that nothing Latin is unknown."""
    pieces = [*SPECIAL, *PUNCTUATION, *CJK, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORD_LIST.split()]
    return list(dict.fromkeys(pieces))


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {piece: index for index, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
