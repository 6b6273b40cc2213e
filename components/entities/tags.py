"""Entities as spans and as tags: what tag files mean, what a network is taught, and what its tags say.

A span is (start, end, label) with the end exclusive, in code points of a text or in positions of a list of tags. The
network's own tags are O, and for each label B and I, as numbers: 0, then 1 and 2 for the first label, and so on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import json_text

Span = tuple[int, int, str]
Offsets = NDArray[np.int64]  # (units, 2): start and end of each unit
TagNumbers = NDArray[np.int64]
OUTSIDE = "O"
# BIO, IO, BIOES, BMES and BILOU in one: a letter means the same in all of them.
TAG = re.compile(r"([BIMELSU])[-_](.*\S.*)", re.DOTALL)
GOES_ON, ENDS = "IMEL", "ELSU"
MORE_THAN_IO = re.compile(r'"[BMELSU][-_]')  # a tag in JSON that IO does not have


def as_label(spans: Sequence[Span]) -> str:
    """Spans as the string that rows keep as their label."""
    return json_text(sorted(spans))


def spans_of_label(label: str) -> list[Span]:
    """The spans of a row's label, in order."""
    return [(start, end, name) for start, end, name in json.loads(label)]


def is_tag(value: object) -> bool:
    """Whether this is O, or a letter of a known scheme with a label."""
    return isinstance(value, str) and (value == OUTSIDE or TAG.fullmatch(value) is not None)


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """The spans in legal or illegal tags, in positions of the list.

    A tag that should go on with an entity where there is none of its label begins one, as in conlleval and in
    seqeval's default; an entity that has no last tag ends where another or O comes.
    """
    spans: list[Span] = []
    open_label = None
    for place, (letter, label) in enumerate(map(_letter_and_label, tags)):
        if letter == OUTSIDE:
            open_label = None
            continue
        if letter in GOES_ON and label == open_label:
            spans[-1] = (spans[-1][0], place + 1, label)
        else:
            spans.append((place, place + 1, label))
        open_label = None if letter in ENDS else label
    return spans


def is_more_than_io(tags: str) -> bool:
    """Whether a JSON list has tags of a scheme that marks where entities begin or end."""
    return MORE_THAN_IO.search(tags) is not None


def first_orphan(tags: Sequence[str]) -> int | None:
    """Where a tag goes on with an entity that has not begun; None where all is legal. Not for IO, which begins none."""
    letters = [_letter_and_label(tag) for tag in tags]
    before = (OUTSIDE, "")
    for place, (letter, label) in enumerate(letters):
        if letter in GOES_ON and (before[0] in (*ENDS, OUTSIDE) or before[1] != label):
            return place
        before = (letter, label)
    return None


def _letter_and_label(tag: str) -> tuple[str, str]:
    match = TAG.fullmatch(tag)
    return (match[1], match[2]) if match else (OUTSIDE, "")


def tag_names(labels: Sequence[str]) -> list[str]:
    """The network's tags in the order of their numbers."""
    return [OUTSIDE, *(f"{letter}-{label}" for label in labels for letter in "BI")]


def tags_of_spans(units: Offsets, spans: Sequence[Span], labels: Sequence[str]) -> TagNumbers:
    """The tag of each unit. A span with a border inside a unit has the whole unit, the first of two that want it."""
    index = {label: position for position, label in enumerate(labels)}
    tags = np.zeros(len(units), np.int64)
    free = 0
    for start, end, label in sorted(spans):
        first = max(free, int(np.searchsorted(units[:, 1], start, side="right")))
        free = max(first, int(np.searchsorted(units[:, 0], end, side="left")))
        tags[first:free] = 2 * index[label] + 2
        tags[first : min(first + 1, free)] = 2 * index[label] + 1
    return tags


def runs_of_tags(tags: TagNumbers) -> list[tuple[int, int, int]]:
    """First unit, end and label number of each entity in a network's tags, illegal ones repaired.

    An I that follows no tag of its label begins an entity: the rule of `spans_of_tags`.
    """
    runs: list[tuple[int, int, int]] = []
    for place in np.flatnonzero(tags).tolist():
        label, inside = divmod(int(tags[place]) - 1, 2)
        if inside and runs and runs[-1][1:] == (place, label):
            runs[-1] = (runs[-1][0], place + 1, label)
        else:
            runs.append((place, place + 1, label))
    return runs
