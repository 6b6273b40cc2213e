"""What a model from scratch starts with: a WordPiece vocabulary that is trained on the corpus, and its configuration.

A champion's vocabulary is kept by the models after it: scores of models that read in different pieces say nothing about
which is better.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.digests import digest_file, digest_of
from components.errors import BaseModelError, ConfigError, DataError
from components.models.base_models import CONFIG, TOKENIZER_FILES
from components.pretraining_config import PretrainingConfig
from components.records import BaseModel, ValidatedDataset

UNKNOWN = "[UNK]"
SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
# Layers and width; heads of 64, and four times the width inside. Source: google-research/bert, the 24 smaller models.
SIZES = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
HEAD_WIDTH = 64
POSITIONS = 512
INSIDE = "##"
LONGEST_WORD = 200  # characters; a longer one is [UNK]
BATCH = 10_000  # sentences that the trainer gets at once
WIDEST_ALPHABET = 0.9  # of the vocabulary; Chinese has thousands of letters


def new_base(config: PretrainingConfig, dataset: ValidatedDataset, champion: Path | None, folder: Path) -> BaseModel:
    """The tokenizer and the configuration of a model from scratch, a base model without weights.

    Args:
        champion: model directory whose vocabulary is kept, or None.

    Raises:
        ConfigError: the run file's configuration does not fit the vocabulary, the lengths, or BERT.
        DataError: there are hardly any words to make a vocabulary of.
    """
    tokenizer = _kept_tokenizer(config, champion) if champion else _trained_tokenizer(config, dataset)
    network = network_config(config, len(tokenizer), tokenizer.pad_token_id)
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    files = {path.name: digest_file(path) for name in TOKENIZER_FILES if (path := folder / name).is_file()}
    return BaseModel(
        spec=f"from scratch ({config.model.size})",
        folder=folder,
        digest=digest_of({**files, CONFIG: digest_file(folder / CONFIG)}),
        tokenizer_digest=digest_of(files),
    )


def network_config(config: PretrainingConfig, entries: int, padding: int) -> Any:
    """The BertConfig of a model from scratch.

    Raises:
        ConfigError: an unknown key, or values that do not fit each other.
    """
    from transformers import BertConfig

    layers, width = SIZES[config.model.size]
    longest = config.phases[-1].max_length
    own = dict(config.model.config)
    _require_known(own)
    if own.get("vocab_size", entries) != entries:
        raise ConfigError(
            f"model.config.vocab_size is {own['vocab_size']}, but the vocabulary has {entries:,} entries.",
            "leave model.config.vocab_size out: it follows from the vocabulary.",
        )
    if own.get("max_position_embeddings", longest) < longest:
        raise ConfigError(
            f"model.config.max_position_embeddings is {own['max_position_embeddings']}, but a phase has sequences of "
            f"{longest} tokens.",
            "raise it to the longest phase's max_length.",
        )
    width = own.get("hidden_size", width)
    values = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "intermediate_size": 4 * width,
        "max_position_embeddings": max(POSITIONS, longest),
        **own,
        "vocab_size": entries,
        "pad_token_id": padding,
    }
    if values["hidden_size"] % values["num_attention_heads"]:
        raise ConfigError(
            f"model.config: a width of {values['hidden_size']} cannot be shared by {values['num_attention_heads']} "
            "attention heads.",
            "make hidden_size a multiple of num_attention_heads.",
        )
    return BertConfig(**values)


def _require_known(own: dict[str, Any]) -> None:
    from transformers import BertConfig

    known = set(BertConfig().to_dict())
    unknown = sorted(set(own) - known)
    if unknown:
        raise ConfigError(
            f"model.config: BertConfig has no {', '.join(map(repr, unknown))}.",
            "use the names of transformers' BertConfig.",
        )


def _trained_tokenizer(config: PretrainingConfig, dataset: ValidatedDataset) -> Any:
    """A tokenizer with a vocabulary of this text.

    The trainer numbers letters inside words in the order that it meets them, another one each time, and decides ties by
    these numbers. So their pieces are found first, and given to it in their own order.
    """
    wanted = config.vocabulary
    letters = _trained(config, dataset, entries=1, first=SPECIAL)
    inner = sorted(piece for piece in letters if piece.startswith(INSIDE) and len(piece) == len(INSIDE) + 1)
    pieces = _trained(config, dataset, entries=wanted.size, first=(*SPECIAL, *inner))
    if len(pieces) < 2 * len(SPECIAL):
        raise DataError(
            f"The corpus gives a vocabulary of {len(pieces)} entries only.",
            "add text, or lower vocabulary.min_frequency.",
        )
    return _as_bert_tokenizer(_tokenizer(pieces, wanted.lowercase), wanted.lowercase)


def _trained(
    config: PretrainingConfig, dataset: ValidatedDataset, *, entries: int, first: Sequence[str]
) -> dict[str, int]:
    """The pieces of a vocabulary with their ids, those of `first` at its top."""
    from tokenizers import trainers

    tokenizer = _tokenizer(None, config.vocabulary.lowercase)
    trainer = trainers.WordPieceTrainer(
        vocab_size=entries,
        min_frequency=config.vocabulary.min_frequency,
        limit_alphabet=int(config.vocabulary.size * WIDEST_ALPHABET),
        special_tokens=list(first),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(dataset), trainer)
    pieces: dict[str, int] = tokenizer.get_vocab()
    return pieces


def _tokenizer(pieces: dict[str, int] | None, lowercase: bool) -> Any:
    """A WordPiece tokenizer as BERT has it, that adds nothing."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = models.WordPiece(pieces, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _as_bert_tokenizer(tokenizer: Any, lowercase: bool) -> Any:
    """A tokenizer that adds [CLS] and [SEP], as transformers loads and saves it."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    cls, sep = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name[1:-1].lower()}_token": name for name in SPECIAL},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        do_lower_case=lowercase,
    )


def _texts(dataset: ValidatedDataset) -> Iterator[list[str]]:
    """The sentences to learn from; the held-out ones must not decide what a word is."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(dataset.split_file("train")) as file:
        for batch in file.iter_batches(BATCH, columns=["text"]):
            yield batch.column(0).to_pylist()


def _kept_tokenizer(config: PretrainingConfig, champion: Path) -> Any:
    """A tokenizer with the champion's vocabulary, to the byte the one that this vocabulary was first saved in."""
    tokenizer = load(champion)
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    kind, lowercase = parts["model"]["type"], bool((parts["normalizer"] or {}).get("lowercase"))
    wanted = config.vocabulary
    if kind != "WordPiece" or lowercase != wanted.lowercase or len(tokenizer) > wanted.size:
        raise ConfigError(
            f"The champion of '{config.name}' has a {kind} vocabulary of {len(tokenizer):,} entries"
            f"{', lower-cased' if lowercase else ''}, other than the run file's; their scores could not be compared.",
            "leave the vocabulary as it was, or give the new model another name.",
        )
    return _as_bert_tokenizer(_tokenizer(tokenizer.get_vocab(), lowercase), lowercase)


def load(folder: Path) -> Any:
    """The fast tokenizer in a folder of our own."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def require_comparable(config: PretrainingConfig, base: Any, champion: Any) -> None:
    """Refuse a base model whose vocabulary is not the champion's.

    Args:
        base: tokenizer of the base model.
        champion: tokenizer of the champion.

    Raises:
        ConfigError: their vocabularies differ.
    """
    if base.get_vocab() != champion.get_vocab():
        raise ConfigError(
            f"'{config.model.base}' has another vocabulary than the champion of '{config.name}'; their scores on "
            "held-out text could not be compared.",
            "give the new model another name, or go on from a model with the champion's vocabulary.",
        )


def require_suitable(base: BaseModel, tokenizer: Any, next_sentence: bool) -> None:
    """Refuse a base model that cannot be pretrained on.

    Raises:
        BaseModelError: its tokenizer lacks [MASK], [CLS] or [SEP], or has more entries than the model.
        ConfigError: next-sentence prediction is wanted of a model that has no segments.
    """
    lacking = [name for name in ("mask", "cls", "sep", "pad") if getattr(tokenizer, f"{name}_token_id") is None]
    if lacking:
        signs = " or ".join(f"[{name.upper()}]" for name in lacking)
        raise BaseModelError(
            f"The tokenizer of '{base.spec}' has no {signs}: masked language modelling needs it.",
            "name a masked language model such as BERT.",
        )
    network = json.loads((base.folder / CONFIG).read_bytes())
    if len(tokenizer) > network.get("vocab_size", len(tokenizer)):
        raise BaseModelError(
            f"The vocabulary of '{base.spec}' has {len(tokenizer):,} entries, but its config says "
            f"{network['vocab_size']:,}.",
            "use the tokenizer that belongs to the model's weights.",
        )
    kind = network.get("model_type")
    if next_sentence and (kind != "bert" or network.get("type_vocab_size", 2) < 2):
        raise ConfigError(
            f"'{base.spec}' is a '{kind}' model without a next-sentence head.", "set examples.next_sentence to false."
        )
