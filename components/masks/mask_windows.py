"""What a masked language model reads of a text, with the tokens marked that it shall guess.

The marks stand in `attention_mask`, the one list that every network gets and that has room for them: 1 is a token to
read, 2 one to read and to guess, -1 the id of a word that is asked for, behind the end of the text. `mask_guessing.py`
makes the 0 and 1 of it that the network gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from components.task_types.base import Features, Row, Windows

READ, GUESSED, ASKED = 1, 2, -1
WRITTEN_MASK = "[MASK]"  # understood by every model, whatever its own mask is called
WRITTEN_MASKS = (WRITTEN_MASK, "<mask>")


@dataclass(frozen=True, slots=True)
class Gaps:
    """The masks of a text: where they are, and which words are asked for in them.

    Args:
        spans: characters of each mask in the text.
        tokens: number of each mask among the text's tokens.
        words: each word that is asked for, with its pieces as places among the asked ids; no pieces: not in the
            vocabulary.
        tokenizer: says how a token is written.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    tokens: tuple[int, ...]
    words: tuple[tuple[str, tuple[int, ...]], ...]
    tokenizer: Any


@dataclass(slots=True)
class _Text:
    """A text in its windows: `starts` are the numbers of their first tokens among the text's."""

    windows: list[Features]
    firsts: list[int]  # place of the first token of the text in each window, behind [CLS]
    lengths: list[int]  # tokens of the text in each window
    starts: list[int]

    def ids(self) -> list[int]:
        """The text's tokens, each once."""
        found: list[int] = []
        for window, first, length, start in zip(self.windows, self.firsts, self.lengths, self.starts, strict=True):
            found += window["input_ids"][first + len(found) - start : first + length]
        return found

    def mark(self, token: int) -> None:
        """Mark a token to be guessed, in the window that shows most of what is around it."""
        spaces = [min(token - a, a + n - 1 - token) for a, n in zip(self.starts, self.lengths, strict=True)]
        best = max(range(len(spaces)), key=lambda window: (spaces[window], -window))
        self.windows[best]["attention_mask"][self.firsts[best] + token - self.starts[best]] = GUESSED


def has_mask(text: str) -> bool:
    """Whether a text has a mask, as BERT and as most other models write it."""
    return any(mask in text for mask in WRITTEN_MASKS)


def window_masks(tokenizer: Any, rows: Sequence[Row], max_length: int, overlap: int, scored_tokens: int) -> Windows:
    """The windows of each row. In a text with masks these are marked; in one without, the tokens to be scored.

    Args:
        rows: `text`, and as an option `targets`, the words that are asked for.
        scored_tokens: most tokens to score in a text, spread over it from a place that the text's hash gives.
    """
    texts = [row["text"].replace(WRITTEN_MASK, tokenizer.mask_token) for row in rows]
    found: list[Features] = []
    places: list[int] = []
    notes: list[Gaps | None] = []
    for number, text in enumerate(_read(tokenizer, texts, max_length, overlap)):
        notes.append(_mark_text(text, tokenizer, rows[number], scored_tokens))
        found += text.windows
        places += [number] * len(text.windows)
    return Windows(found, places, notes=notes)


def _read(tokenizer: Any, texts: Sequence[str], max_length: int, overlap: int) -> Iterator[_Text]:
    if not texts:
        return
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
        return_attention_mask=True,
    )
    owners, added = encoded.pop("overflow_to_sample_mapping"), encoded.pop("special_tokens_mask")
    step = max_length - tokenizer.num_special_tokens_to_add() - overlap
    text, owner = _Text([], [], [], []), 0
    for window, (row, special) in enumerate(zip(owners, added, strict=True)):
        if row != owner:
            yield text
            text, owner = _Text([], [], [], []), row
        text.starts.append(len(text.windows) * step)
        text.windows.append({name: values[window] for name, values in encoded.items()})
        text.firsts.append(special.index(0) if 0 in special else 0)
        text.lengths.append(special.count(0))
    yield text


def _mark_text(text: _Text, tokenizer: Any, row: Row, scored_tokens: int) -> Gaps | None:
    ids = text.ids()
    masks = [token for token, number in enumerate(ids) if number == tokenizer.mask_token_id]
    for token in masks or _scored(ids, tokenizer, row["text"], scored_tokens):
        text.mark(token)
    if not masks:
        return None
    words, asked = _words(tokenizer, row.get("targets") or ())
    if asked:
        _append(text.windows, asked)
    pattern = f"{re.escape(WRITTEN_MASK)}|{re.escape(tokenizer.mask_token)}"
    spans = tuple(match.span() for match in re.finditer(pattern, row["text"]))
    return Gaps(row["text"], spans, tuple(masks), words, tokenizer)


def _scored(ids: Sequence[int], tokenizer: Any, text: str, most: int) -> list[int]:
    special = set(tokenizer.all_special_ids)
    places = [token for token, number in enumerate(ids) if number not in special]
    count = min(most, len(places))
    offset = int.from_bytes(sha256(text.encode("utf-8", "replace")).digest()[:4], "big")
    return sorted(places[(offset + step * len(places) // count) % len(places)] for step in range(count))


def _words(tokenizer: Any, targets: Sequence[str]) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], list[int]]:
    asked: list[int] = []
    words: list[tuple[str, tuple[int, ...]]] = []
    for word in targets:
        pieces = word_pieces(tokenizer, word)
        words.append((word, tuple(range(len(asked), len(asked) + len(pieces)))))
        asked += pieces
    return tuple(words), asked


def word_pieces(tokenizer: Any, word: str) -> list[int]:
    """The ids of a word as it stands in a sentence; none where the vocabulary does not know it."""
    pieces: list[int] = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    if len(pieces) > 1 and not tokenizer.decode(pieces[:1]).strip():  # SentencePiece's mark of a gap between words
        pieces = pieces[1:]
    whole = tokenizer.convert_tokens_to_ids(word)  # such as ##ing, which is no word of a sentence
    if len(pieces) != 1 and whole not in (None, tokenizer.unk_token_id):
        return [whole]
    return [] if tokenizer.unk_token_id in pieces else pieces


def _append(windows: Sequence[Features], asked: Sequence[int]) -> None:
    for window in windows:
        if GUESSED in window["attention_mask"]:
            for name, values in window.items():
                tail = {"input_ids": list(asked), "attention_mask": [ASKED] * len(asked)}
                values += tail.get(name, [0] * len(asked))
