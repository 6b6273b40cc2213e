"""What the columns of somebody's data look like, and which task type they are therefore for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

from components.sequences.label_cells import SEPARATORS
from components.task_types import find_task_type
from components.task_types.looks import Look, Sought

LOOKED_AT = 1000  # values of a column that are parsed
MOST_LABELS = 500
MOST_WHOLE_LABELS = 3  # 0.0, 1.0 and 2.0 are labels that some program took for numbers; more are marks
LONGEST_WORD = 30  # mean characters of what stands between the signs of a cell; more is a sentence
SHORTEST_TEXT = 3  # mean characters of a second text; less is a code

# The true answer that is harder to mistake comes first: of a file with several, the types in this order.
MOST_TELLING: tuple[Look, ...] = get_args(Look)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of somebody's file."""

    name: str
    look: Look
    filled: int
    different: int
    mean_characters: float


def look_at_column(name: str, values: Sequence[str]) -> Column:
    """What a column holds; its values are text, or JSON text where the file has more than text."""
    filled = [value for value in values if value.strip()]
    mean = sum(map(len, filled)) / max(len(filled), 1)
    return Column(name, _look(list(islice(filled, LOOKED_AT))), len(filled), len(set(filled)), mean)


def recognise(columns: Sequence[Column], known: Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """The task type that these columns are for, and its roles with the columns' names.

    Args:
        columns: those of one file.
        known: names of the task types that there are.
    """
    forms = [(sought, name) for name in known for sought in find_task_type(name).sought]
    for sought, name in sorted(forms, key=lambda form: _telling(form[0])):
        if found := _match(columns, sought):
            return name, found
    return None


def _telling(sought: Sequence[Sought]) -> tuple[int, int]:
    """Less is more telling: how its true answer looks, then how many other columns must be there."""
    look = sought[0].look
    alone = sought[0].content == "alone"
    return MOST_TELLING.index(look or "text") + alone, -sum(not each.optional for each in sought)


def _look(values: Sequence[str]) -> Look:
    parsed = [_json(value) for value in values]
    lists = [item for item in parsed if isinstance(item, list)]
    if values and len(lists) == len(values):
        items = [item for each in lists for item in each]
        if items and all(isinstance(item, dict) and {"start", "end"} <= set(item) for item in items):
            return "spans"
        return "texts" if items and all(isinstance(item, str) for item in items) else "text"
    if values and all(isinstance(item, dict) and {"text", "answer_start"} <= set(item) for item in parsed):
        return "answers"
    numbers = [item for item in parsed if isinstance(item, int | float) and not isinstance(item, bool)]
    many = len(set(numbers)) > MOST_WHOLE_LABELS and all(isinstance(item, float) for item in numbers)
    are_numbers = values and len(numbers) == len(values) and (many or any(item % 1 for item in numbers))
    if are_numbers:
        return "number"
    return "cells" if _are_cells(values) else "text"


def _are_cells(values: Sequence[str]) -> bool:
    """Whether cells hold words that recur, and some cells several of them."""
    parts = [[part.strip() for part in SEPARATORS.split(value)] for value in values]
    words = [word for each in parts for word in each]
    several = sum(len(each) > 1 for each in parts)
    recurring = len(set(words)) <= min(MOST_LABELS, len(words) // 2)
    short = sum(map(len, words)) <= LONGEST_WORD * len(words)
    return several > 0 and recurring and short and all(words)


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _match(columns: Sequence[Column], sought: Sequence[Sought]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for each in sought:
        if each.content == "alone" and len(columns) > 1:
            return None
        rest = {column.name: column for column in columns if column.name not in found.values() and column.filled}
        name = _find(rest, each)
        if name is not None:
            found[each.role] = name
        elif not each.optional:
            return None
    truth = next(iter(found))
    return {role: found[role] for role in (*list(found)[1:], truth)}


def _find(columns: Mapping[str, Column], sought: Sought) -> str | None:
    if sought.optional:
        columns = {name: column for name, column in columns.items() if column.mean_characters > SHORTEST_TEXT}
    evened = {name.strip().casefold(): column for name, column in columns.items()}
    named = next((evened[name] for name in sought.names if name in evened), None)
    if named is not None and sought.look in (None, named.look):
        return named.name
    alike = [column for column in columns.values() if column.look == sought.look]
    match sought.content:
        case "longest" | "alone":
            return max(alike, key=lambda column: column.mean_characters).name if alike else None
        case "only one" if named is None and len(alike) == 1:
            return alike[0].name
        case "label":
            return _like_a_label(columns.values())
    return None


def _like_a_label(columns: Any) -> str | None:
    """The column with the fewest different values, each of which recurs."""
    recurring = [column for column in columns if 2 <= column.different <= min(MOST_LABELS, max(column.filled // 2, 2))]
    longest = max(columns, key=lambda column: column.mean_characters, default=None)
    likely = [column for column in recurring if column is not longest]
    return min(likely, key=lambda column: column.different).name if likely else None
