"""A small random BERT with a vocabulary of a line's own training texts, to learn a language with from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quality_data import draw_splits
from quality_lines import Line

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def write_random_encoder(line: Line, size: tuple[int, int, int], data: Path, folder: Path) -> str:
    """The folder of the model, which all systems and seeds of a call share: the vocabulary differs a little by call.

    Args:
        size: layers, width, entries of the vocabulary.
    """
    import torch
    from transformers import AutoModelForMaskedLM, BertConfig

    layers, width, entries = size
    tokenizer = _tokenizer((row["text"] for row in draw_splits(line, data)["train"]), entries)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        # What learns for minutes does not learn by heart, and 0.02 is for networks six times as wide.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    return str(folder)


def _tokenizer(texts: Iterable[str], entries: int) -> Any:
    from tokenizers import BertWordPieceTokenizer, processors
    from transformers import PreTrainedTokenizerFast

    made = BertWordPieceTokenizer(lowercase=True)
    made.train_from_iterator(texts, vocab_size=entries, special_tokens=list(SPECIAL.values()), show_progress=False)
    ends = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    named = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, model_max_length=512, **named)
