"""A question with its context as the network reads it: the whole question in every window over the context.

[CLS] question [SEP] context [SEP], the context in windows that share `window_overlap` tokens. Each window carries three
lists beside what the network reads, one number a token, -1 outside the context: `place`, the token's number in the
context, and `start` and `end`, its characters there (white space at the edges left out; both -1 if nothing else is).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Features, Row, Spec, Windows

Integers = NDArray[np.int64]
CLS = 0  # its position in a window: where a window points to that does not hold the answer
POSITIONS = ("place", "start", "end")


def encode_questions(tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
    """The windows of rows with a `question` and a `context`.

    A question of more than `max_query_length` tokens, or of more than half a window, is cut and counted.
    """
    if not rows:
        return Windows([], [])
    half = (spec.max_length - tokenizer.num_special_tokens_to_add(pair=True)) // 2
    longest = min(int(spec.settings["max_query_length"]), half)
    questions, cut = _cut_questions(tokenizer, [row["question"] for row in rows], longest)
    room = spec.max_length - tokenizer.num_special_tokens_to_add(pair=True) - longest
    overlap = min(spec.window_overlap, room // 2)  # beyond half, each window would bring few new tokens
    encoded = tokenizer(
        questions,
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=spec.max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    owners = encoded["overflow_to_sample_mapping"]
    names = [name for name in tokenizer.model_input_names if name in encoded]
    features: list[Features] = []
    for window, row in enumerate(owners):
        follows = window > 0 and owners[window - 1] == row
        before = features[-1] if follows else None
        positions = _positions(encoded, window, rows[row]["context"], before, overlap)
        features.append({**{name: encoded[name][window] for name in names}, **positions})
    return Windows(features, list(owners), cut)


def _cut_questions(tokenizer: Any, questions: Sequence[str], longest: int) -> tuple[list[str], int]:
    """Questions of at most `longest` tokens, and how many of them had to be cut."""
    offsets = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    fitting = [
        question if len(own) <= longest else question[: own[longest - 1][1]]
        for question, own in zip(questions, offsets, strict=True)
    ]
    return fitting, sum(len(own) > longest for own in offsets)


def _positions(encoded: Any, window: int, context: str, before: Features | None, overlap: int) -> Features:
    """What a window carries about its tokens' places in the context."""
    offsets, sides = encoded["offset_mapping"][window], encoded.sequence_ids(window)
    place = max(before["place"]) + 1 - overlap if before else 0
    found: Features = {name: [-1] * len(sides) for name in POSITIONS}
    for token, (side, (start, end)) in enumerate(zip(sides, offsets, strict=True)):
        if side != 1:
            continue
        found["place"][token] = place
        place += 1
        while start < end and context[start].isspace():
            start += 1
        while start < end and context[end - 1].isspace():
            end -= 1
        if start < end:
            found["start"][token], found["end"][token] = start, end
    return found


def windows_by_row(windows: Windows, rows: int) -> list[range]:
    """The numbers of each row's windows."""
    edges = np.searchsorted(windows.rows, np.arange(rows + 1)).tolist()
    return [range(first, last) for first, last in pairwise(edges)]


def positions_of(features: Sequence[Features]) -> tuple[Integers, Integers, Integers, Integers]:
    """`place`, `start` and `end` of all tokens of a row's windows, one after the other, and the window of each."""
    place, start, end = (
        np.concatenate([np.asarray(window[name], np.int64) for window in features]) for name in POSITIONS
    )
    number = np.repeat(np.arange(len(features)), [len(window["place"]) for window in features])
    return place, start, end, number


def answer_targets(features: Sequence[Features], first: int, last: int) -> list[tuple[int, int]]:
    """Positions of the first and the last token of an answer in each window of a row; CLS twice where it is not whole.

    Args:
        features: the windows of one row.
        first: the answer's first character in the context.
        last: the one after its last.
    """
    place, start, end, _ = positions_of(features)
    touched = place[(start < last) & (end > first)]  # -1 < any answer's end, but never beyond its start
    if not len(touched):
        return [(CLS, CLS)] * len(features)
    edges = int(touched.min()), int(touched.max())
    return [_in_window(window["place"], *edges) for window in features]


def _in_window(places: Sequence[int], first: int, last: int) -> tuple[int, int]:
    whole = first in places and last in places
    return (places.index(first), places.index(last)) if whole else (CLS, CLS)
