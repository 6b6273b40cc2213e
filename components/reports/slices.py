"""Slices of the frozen rows: by a column of theirs, by length, by script, by label; and how far apart they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.config import Evaluation
from components.sequences.one_label import OneLabel
from components.task_types import TaskType

if TYPE_CHECKING:
    import pandas as pd

# What `evaluation.slice_by` says, and what such slices are called: no column of a file is hidden by them.
BY_WHAT = {"length": "text length", "script": "text script", "label": "label"}
BANDS = (30, 100, 300, 1000)  # characters; a Chinese text says as much in a third of them
CLEARLY = 0.8  # of the letters are of one script
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def slice_columns(settings: Evaluation) -> tuple[str, ...]:
    """The names of everything that rows are sliced by."""
    return tuple(dict.fromkeys([*settings.slices, *(BY_WHAT[name] for name in settings.slice_by)]))


def slice_values(rows: pd.DataFrame, column: str, texts: Sequence[str]) -> pd.Series | None:
    """The slice of each row, in words; None where the rows have no such column.

    Args:
        rows: with the text columns.
        column: one of `slice_columns`.
        texts: names of the text columns.
    """
    present = [name for name in texts if name in rows]
    if column in rows:
        return rows[column].map(str)
    if column == BY_WHAT["length"]:
        return sum((rows[name].str.len() for name in present), start=0 * rows[present[0]].str.len()).map(length_band)
    if column == BY_WHAT["script"]:
        return rows[present].agg(" ".join, axis=1).map(script_of)
    return None


def length_band(characters: int) -> str:
    """The band of a length, such as "31-100"."""
    low = 0
    for high in BANDS:
        if characters <= high:
            return f"{low}-{high}"
        low = high + 1
    return f"{low} or more"


def script_of(text: str) -> str:
    """Han, Latin, mixed (of the two), or other, by the letters of a text."""
    letters = sum(character.isalpha() for character in text)
    han, latin = len(HAN.findall(text)), len(LATIN.findall(text))
    if letters == 0 or han + latin < CLEARLY * letters:
        return "other"
    for name, count in (("Han", han), ("Latin", latin)):
        if count >= CLEARLY * letters:
            return name
    return "mixed"


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart the judged slices of one column are: in the metric, and in equalised odds where labels are one.

    `odds` is the largest gap of any label's recall or false-positive rate; None for answers of another kind.
    """

    column: str
    metric: float
    odds: float | None


def gaps(judged: Sequence[Mapping[str, Any]], rows: pd.DataFrame, task_type: TaskType, enough: int) -> list[Gap]:
    """The gap of each column with two judged slices or more; that between labels is none: labels differ in kind.

    Args:
        judged: slices of `report.json`.
        rows: predictions, with label and predicted.
        enough: rows with (or without) a label that its recall (or false-positive rate) in a slice is told from.
    """
    found = []
    for column in dict.fromkeys(item["column"] for item in judged):
        scores = {item["value"]: item["score"] for item in judged if item["column"] == column}
        values = slice_values(rows, column, task_type.texts)
        if column != BY_WHAT["label"] and len(scores) > 1 and values is not None:
            one_label = isinstance(task_type, OneLabel)
            odds = odds_gap(rows[values.isin(list(scores))], values, enough) if one_label else None
            found.append(Gap(column, max(scores.values()) - min(scores.values()), odds))
    return found


def odds_gap(rows: pd.DataFrame, values: pd.Series, enough: int) -> float | None:
    """The largest gap between slices of any label's recall or false-positive rate; None where none can be told.

    Source: Hardt, Price and Srebro, Equality of opportunity in supervised learning, 2016, one label against the rest.
    """
    groups = [group for _, group in rows.groupby(values.loc[rows.index])]
    spreads = [
        max(rates) - min(rates)
        for label in sorted(rows["label"].unique())
        for rates in _rates(groups, label, enough)
        if len(rates) > 1
    ]
    return max(spreads, default=None)


def _rates(groups: Sequence[pd.DataFrame], label: str, enough: int) -> Iterator[list[float]]:
    """A label's recall, and its false-positive rate, in every slice with rows enough."""
    for has in (True, False):
        parts = [group[(group["label"] == label) == has] for group in groups]
        yield [float(np.mean(part["predicted"] == label)) for part in parts if len(part) >= enough]
