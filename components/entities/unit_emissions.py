"""From windows to whole texts and back: the targets of each window, and the scores of every unit of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from components.entities.tags import Offsets, TagNumbers, spans_of_label, tags_of_spans
from components.entities.unit_windows import NO_UNIT, UNIT, split_row
from components.task_types.base import Arrays, Features, Row, Spec, Windows

IGNORED = -100
# The target of the first token, [CLS], which is no unit's: whether the window begins and ends with its text.
BEGINS_AND_ENDS, BEGINS, ENDS, NEITHER = IGNORED, -101, -102, -103


@dataclass(frozen=True, slots=True)
class Emissions:
    """What the network gave for one text: `scores` (units, tags) of the units at `offsets`, and a CRF's moves."""

    offsets: Offsets
    scores: NDArray[np.float32]
    moves: NDArray[np.float32] | None


def gather_emissions(
    rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec, header: int
) -> list[Emissions]:
    """Every unit's scores, from the window that answers for it.

    Args:
        rows: texts.
        windows: of `window_units`.
        outputs: of each window (header + tokens, tags).
        header: lines of `outputs` before the first token, which hold a CRF's moves.
    """
    found: list[Emissions] = []
    for row, places in _places_of_rows(windows):
        tokens, units = _answered(windows.features, places)
        scores = np.concatenate([outputs[place][header:][own] for place, own in zip(places, tokens, strict=True)])
        moves = outputs[places[0]][:header] if header else None
        found.append(Emissions(_offsets(rows[row], spec)[np.concatenate(units)], scores, moves))
    return found


def without_padding(outputs: NDArray[np.float32], inputs: Arrays) -> list[NDArray[np.float32]]:
    """The scores of each window's own tokens, behind what stands before the first."""
    mask = inputs.get("attention_mask")
    if mask is None:  # nothing is padded
        return list(outputs)
    header = outputs.shape[1] - inputs["input_ids"].shape[1]
    return [own[: header + length] for own, length in zip(outputs, mask.sum(axis=1).tolist(), strict=True)]


def true_tags(emissions: Sequence[Emissions], rows: Sequence[Row], labels: Sequence[str]) -> list[TagNumbers]:
    """The tag that each unit should have."""
    return [
        tags_of_spans(own.offsets, spans_of_label(row["label"]), labels)
        for own, row in zip(emissions, rows, strict=True)
    ]


def window_targets(rows: Sequence[Row], windows: Windows, spec: Spec) -> list[list[int]]:
    """The tag of each unit at its first piece in the window that answers for it; all other tokens are negative."""
    found: list[list[int]] = []
    for row, places in _places_of_rows(windows):
        tokens, units = _answered(windows.features, places)
        offsets = _offsets(rows[row], spec)[np.concatenate(units)]
        tags = tags_of_spans(offsets, spans_of_label(rows[row]["label"]), spec.labels)
        parts = np.split(tags, np.cumsum([len(own) for own in units])[:-1])
        for place, own, part in zip(places, tokens, parts, strict=True):
            target = np.full(len(windows.features[place][UNIT]), IGNORED)
            target[own] = part
            target[0] = _border(first=place == places[0], last=place == places[-1])
            found.append(target.tolist())
    return found


def _border(*, first: bool, last: bool) -> int:
    if first:
        return BEGINS_AND_ENDS if last else BEGINS
    return ENDS if last else NEITHER


def _places_of_rows(windows: Windows) -> list[tuple[int, list[int]]]:
    """Each row with its windows."""
    return [(row, list(places)) for row, places in groupby(range(len(windows.rows)), key=windows.rows.__getitem__)]


def _answered(features: Sequence[Features], places: Sequence[int]) -> tuple[list[TagNumbers], list[TagNumbers]]:
    """The tokens of each window that answer for a unit, and those units."""
    columns = [np.asarray(features[place][UNIT], np.int64) for place in places]
    tokens = [np.flatnonzero(column != NO_UNIT) for column in columns]
    return tokens, [column[own] for column, own in zip(columns, tokens, strict=True)]


def _offsets(row: Row, spec: Spec) -> Offsets:
    return np.array(split_row(row, spec), np.int64).reshape(-1, 2)
