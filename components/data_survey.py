"""A first look at somebody's data: which columns hold what, how many rows and labels there are, how long the texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.data_files import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES, columns_of, read_rows
from components.errors import DataError
from components.text import UNSPACED

MOST_LABELS = 500
CHARACTERS_A_TOKEN = (
    3.5  # English word pieces, on the careful side; a character of a script without spaces is one token
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen. `most` and `least` are the rows of the largest and the smallest label."""

    text: str
    text_pair: str | None
    label: str
    rows: int
    labelled: int
    labels: tuple[str, ...]
    most_frequent: tuple[str, ...]
    most: int
    least: int
    median_characters: int
    long_characters: int
    long_tokens: int
    mostly_chinese: bool


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    filled: int
    different: int
    mean_characters: float


def survey(files: Sequence[Path]) -> Survey:
    """Look at training files that have the same columns.

    Raises:
        DataError: a file cannot be read, or no column could be the text or the label.
    """
    names = columns_of(files[0])
    cells = {name: [] for name in names}  # type: dict[str, list[str]]
    for path in files:
        table = read_rows(path, list(names), []).table
        for name in names:
            cells[name].extend(value or "" for value in table[name].to_pylist())
    text, text_pair, label = _roles(files[0], {name: _look(name, values) for name, values in cells.items()})
    counts = Counter(value for value in cells[label] if value.strip())
    pairs = cells[text_pair] if text_pair else [""] * len(cells[text])
    characters = np.array([len(a) + len(b) for a, b in zip(cells[text], pairs, strict=True)] or [0])
    unspaced = np.array([_unspaced(a) + _unspaced(b) for a, b in zip(cells[text], pairs, strict=True)] or [0])
    tokens = unspaced + (characters - unspaced) / CHARACTERS_A_TOKEN
    return Survey(
        text=text,
        text_pair=text_pair,
        label=label,
        rows=len(cells[text]),
        labelled=counts.total(),
        labels=tuple(sorted(counts)),
        most_frequent=tuple(value for value, _ in counts.most_common()),
        most=max(counts.values(), default=0),
        least=min(counts.values(), default=0),
        median_characters=int(np.percentile(characters, 50)),
        long_characters=int(np.percentile(characters, 99)),
        long_tokens=int(np.percentile(tokens, 98)) + 1,
        mostly_chinese=bool(unspaced.sum() > 0.3 * characters.sum()),
    )


def _unspaced(text: str) -> int:
    return 0 if text.isascii() else len(re.findall(f"[{UNSPACED}]", text))


def _look(name: str, values: Sequence[str]) -> _Column:
    filled = [value for value in values if value.strip()]
    mean = sum(map(len, filled)) / max(len(filled), 1)
    return _Column(name, len(filled), len(set(filled)), mean)


def _roles(path: Path, columns: dict[str, _Column]) -> tuple[str, str | None, str]:
    """The columns of the text, of the second text if there is one, and of the label: by name, else by content."""
    label = _named(columns, LABEL_NAMES) or _like_a_label(columns)
    others = {name: column for name, column in columns.items() if name != label and column.filled}
    text = _named(others, TEXT_NAMES) or max(others, key=lambda name: others[name].mean_characters, default=None)
    if label is None or text is None:
        listed = ", ".join(f"'{name}' ({column.different} different values)" for name, column in columns.items())
        raise DataError(
            f"{path.name} has no column that looks like {'a label' if text else 'a text'}: {listed}.",
            "name the columns 'text' and 'label'.",
        )
    rest = {name: column for name, column in others.items() if name != text and column.mean_characters > 3}
    return text, _named(rest, PAIR_NAMES), label


def _named(columns: dict[str, _Column], known: Sequence[str]) -> str | None:
    evened = {name.strip().casefold(): name for name in columns}
    return next((evened[name] for name in known if name in evened), None)


def _like_a_label(columns: dict[str, _Column]) -> str | None:
    """The column with the fewest different values, each of which recurs."""
    recurring = [
        column for column in columns.values() if 2 <= column.different <= min(MOST_LABELS, max(column.filled // 2, 2))
    ]
    longest = max(columns.values(), key=lambda column: column.mean_characters).name
    likely = [column for column in recurring if column.name != longest]
    return min(likely, key=lambda column: column.different).name if likely else None
