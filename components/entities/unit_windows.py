"""Texts as windows of whole units, and which window answers for which unit.

A window holds as many units as fit and shares at most `window_overlap` tokens with its neighbour. A unit is answered
for where it is farthest from the borders at which the text was cut, the earlier window winning a tie; the ends of the
text itself are no such borders. That holds alike in training, where a unit is a target only there, and in serving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.entities.text_units import split_units
from components.task_types.base import Features, Row, Spec, Windows

UNIT = "unit"  # the feature that says for which unit of its row a token answers
NO_UNIT = -1
WORD_START = "▁"  # SentencePiece's sign for a space; alone it is a piece that says nothing
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the tokenizer puts round every window, and what it gives the network beside the ids."""

    before: list[int]
    after: list[int]
    names: tuple[str, ...]

    @classmethod
    def of(cls, tokenizer: Any) -> _Frame:
        encoded = tokenizer("a", return_special_tokens_mask=True)
        own = [place for place, special in enumerate(encoded["special_tokens_mask"]) if not special]
        ids = encoded["input_ids"]
        return cls(ids[: own[0]], ids[own[-1] + 1 :], tuple(name for name in encoded if name in _CONSTANTS))

    def window(self, ids: Integers, units: Integers) -> Features:
        """The features of a window from its pieces and the units they answer for."""
        before, after = len(self.before), len(self.after)
        whole = [*self.before, *ids.tolist(), *self.after]
        constants = {name: [_CONSTANTS[name]] * len(whole) for name in self.names}
        return {"input_ids": whole, **constants, UNIT: [NO_UNIT] * before + units.tolist() + [NO_UNIT] * after}


_CONSTANTS = {"token_type_ids": 0, "attention_mask": 1}  # the same for every token of a single text


def window_units(tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
    """The windows of rows with a `text`; their feature `unit` is a position in `split_units`, or -1."""
    frame = _Frame.of(tokenizer)
    room = spec.max_length - len(frame.before) - len(frame.after)
    windows = Windows([], [])
    cut = 0
    words = [[row["text"][start:end] for start, end in split_row(row, spec)] for row in rows]
    for row, (ids, units) in enumerate(_pieces(tokenizer, words)):
        ids, units, shortened = _shortened(ids, units, room)
        own = [frame.window(ids[a:b], answers) for a, b, answers in _windows(units, room, spec.window_overlap)]
        windows.features.extend(own)
        windows.rows.extend([row] * len(own))
        cut += shortened
    return Windows(windows.features, windows.rows, cut)


def split_row(row: Row, spec: Spec) -> list[tuple[int, int]]:
    """Start and end of each unit of a row's text, as this model divides it."""
    return split_units(row["text"], words=spec.settings.get("units") == "words")


def _pieces(tokenizer: Any, words: Sequence[list[str]]) -> Iterator[tuple[Integers, Integers]]:
    """Token ids of each text's units and the unit of each id, ascending; one that the tokenizer drops has none."""
    encodings: Iterator[Any] = iter(())
    if any(words):
        options = {"add_special_tokens": False, "truncation": False, "verbose": False}
        encodings = iter(tokenizer([own for own in words if own], is_split_into_words=True, **options).encodings)
    space = tokenizer.convert_tokens_to_ids(WORD_START)
    space = None if space == tokenizer.unk_token_id else space
    for own in words:
        if not own:
            yield np.empty(0, np.int64), np.empty(0, np.int64)
            continue
        encoding = next(encodings)
        yield _without_spaces(np.array(encoding.ids, np.int64), np.array(encoding.word_ids, np.int64), space)


def _without_spaces(ids: Integers, units: Integers, space: int | None) -> tuple[Integers, Integers]:
    """Leave out the bare sign for a space that SentencePiece puts before a unit, unless the unit has nothing else.

    It would double the length of Chinese texts, and stand where the unit's first piece should.
    """
    if space is None or not len(ids):
        return ids, units
    bare = ids == space
    pieces = np.bincount(units)
    kept = ~bare | (np.bincount(units[bare], minlength=len(pieces)) == pieces)[units]
    return ids[kept], units[kept]


def _shortened(ids: Integers, units: Integers, room: int) -> tuple[Integers, Integers, bool]:
    """At most as many pieces of one unit as a window holds; whether any had more."""
    kept = np.arange(len(units)) - np.searchsorted(units, units) < room
    return ids[kept], units[kept], not kept.all()


def _windows(units: Integers, room: int, overlap: int) -> list[tuple[int, int, Integers]]:
    """Start and end of each window in the pieces, and the unit that each of its pieces answers for."""
    first = np.flatnonzero(np.diff(units, prepend=NO_UNIT))  # first piece of each unit
    borders = np.append(first, len(units))
    spans = _spans(borders, room, overlap)
    owners = _owners(borders, spans)
    found = []
    for window, (start, end) in enumerate(spans):
        answers = np.full(end - start, NO_UNIT, np.int64)
        own = first[owners == window]
        answers[own - start] = units[own]
        found.append((start, end, answers))
    return found


def _spans(borders: Integers, room: int, overlap: int) -> list[tuple[int, int]]:
    """Windows as pieces, each from one unit's border to another's. A text without pieces has one empty window."""
    last = len(borders) - 1
    start = end = 0  # positions in borders
    spans: list[tuple[int, int]] = []
    while not spans or end < last:
        if spans:
            shared = min(overlap, room - int(borders[end + 1] - borders[end]))
            start = max(start + 1, int(np.searchsorted(borders, borders[end] - shared)))
        end = int(np.searchsorted(borders, borders[start] + room, side="right")) - 1
        spans.append((int(borders[start]), int(borders[end])))
    return spans


def _owners(borders: Integers, spans: Sequence[tuple[int, int]]) -> Integers:
    """The window that answers for each unit."""
    best = np.full(len(borders) - 1, -1.0)
    owners = np.zeros(len(borders) - 1, np.int64)
    for window, (start, end) in enumerate(spans):
        a, b = np.searchsorted(borders, [start, end])
        left = borders[a:b] - start if window else np.inf
        right = end - borders[a + 1 : b + 1] if window < len(spans) - 1 else np.inf
        distance = np.broadcast_to(np.minimum(left, right), b - a)
        nearer = distance > best[a:b]
        best[a:b] = np.where(nearer, distance, best[a:b])
        owners[a:b] = np.where(nearer, window, owners[a:b])
    return owners
