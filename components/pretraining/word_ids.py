"""The ids of texts, word by word: a word that comes again is looked up, not tokenized again.

A corpus has twenty or a hundred times as many words as different ones. BERT's tokenizer cuts a text at its spaces, and
around each Chinese character, before anything else counts, so that the ids of a text are those of its words in a row.
Other tokenizers (SentencePiece, byte-level) read across spaces; for them the texts are tokenized as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOGETHER = 1000  # words
MOST_WORDS = 2_000_000  # different ones that are kept: some 300 MB
# Source: BertNormalizer of tokenizers, which puts spaces around these.
CHINESE = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f"
)
WORDS = re.compile(f"[{CHINESE}]|[^ {CHINESE}]+")
Ids = NDArray[np.int64]


class _Numbers(dict[str, int]):
    """The number of each word in the order in which they came; `new` are those that have no ids yet."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.new.append(word)
        return number


@dataclass(frozen=True, slots=True)
class _Known:
    """The ids of all words in a row, and where those of each begin and how many they are."""

    ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    starts: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: Ids = field(default_factory=lambda: np.zeros(0, np.int64))

    def and_also(self, ids: Ids, sizes: Ids) -> _Known:
        starts = np.concatenate([self.starts, len(self.ids) + np.cumsum(sizes) - sizes])
        return _Known(np.concatenate([self.ids, ids]), starts, np.concatenate([self.sizes, sizes]))


class WordIds:
    """What a fast tokenizer makes of texts, without special tokens.

    Args:
        rust: of the tokenizers library, with neither truncation nor padding.
    """

    def __init__(self, rust: Any) -> None:
        self.rust = rust
        self.by_word, self.cuts_chinese = _reads_word_by_word(rust)
        self.mark = _mark_of(rust)
        self.numbers, self.known = _Numbers(), _Known()

    def encode(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """The ids of all texts in a row, and how many belong to each."""
        if not self.by_word:
            return self._encode_each(texts)
        words = [self._cut(text) for text in texts]
        flat = list(chain.from_iterable(words))
        numbers = np.fromiter(map(self.numbers.__getitem__, flat), np.int64, len(flat))
        self._learn()
        known, sizes = self.known, self.known.sizes[numbers]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        ids = known.ids[np.repeat(known.starts[numbers] - ends[:-1], sizes) + np.arange(ends[-1])]
        lengths = np.diff(ends[np.cumsum([0, *map(len, words)])])
        if len(self.numbers) > MOST_WORDS:
            self.numbers, self.known = _Numbers(), _Known()
        return ids, lengths

    def _cut(self, text: str) -> list[str]:
        return WORDS.findall(text) if self.cuts_chinese and not text.isascii() else text.split(" ")

    def _learn(self) -> None:
        """Tokenize the words that have come for the first time."""
        new, self.numbers.new = self.numbers.new, []
        if self.mark is None or any(self.mark[0] in word for word in new):
            ids, sizes = self._encode_each(new)
        else:
            ids, sizes = self._encode_together(new, *self.mark)
        self.known = self.known.and_also(ids, sizes)

    def _encode_together(self, words: Sequence[str], mark: str, number: int) -> tuple[Ids, Ids]:
        """Words in few long texts with a mark behind each: an answer of the library for each word costs more."""
        parts = [words[start : start + TOGETHER] for start in range(0, len(words), TOGETHER)]
        marked, _ = self._encode_each(["".join(f"{word} {mark} " for word in part) for part in parts])
        ends = np.flatnonzero(marked == number)
        return marked[marked != number], np.diff(ends, prepend=-1) - 1

    def _encode_each(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        own = [encoding.ids for encoding in self.rust.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.fromiter(map(len, own), np.int64, len(own))
        return np.fromiter(chain.from_iterable(own), np.int64, int(lengths.sum())), lengths


def _reads_word_by_word(rust: Any) -> tuple[bool, bool]:
    """Whether a text's ids are those of its words, and whether a Chinese character is a word."""
    state = json.loads(rust.to_str())
    kinds = [(state[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    by_word = kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
    return by_word, by_word and bool(state["normalizer"]["handle_chinese_chars"])


def _mark_of(rust: Any) -> tuple[str, int] | None:
    """A special token that no word becomes, and its id; the unknown one is what many become."""
    unknown = json.loads(rust.to_str())["model"].get("unk_token")
    special = sorted(
        (number, token.content) for number, token in rust.get_added_tokens_decoder().items() if token.special
    )
    return next(((content, number) for number, content in special if content != unknown), None)
