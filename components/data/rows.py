"""Rows as they were read: the words of the wanted columns as Arrow, and everything that was not a word beside them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from components.task_types.base import json_text

BadKind = Literal["unreadable", "encoding"]
Kind = Literal["text", "word", "json"]  # how values are read; `task_types.Column` says what each means
BATCH_ROWS = 1 << 16
LINE = "line of the file"  # a column of ours beside the wanted ones: a file may well have one called "line"
SHOWN_CHARACTERS = 500  # of a line that cannot be read
LONE_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that gave no row."""

    line: int
    kind: BadKind
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class OddValue:
    """A value that is no text: `row` is a position in the table, whose cell is null or mended."""

    row: int
    column: str
    kind: str
    original: Any


@dataclass(frozen=True, slots=True)
class Rows:
    """What one file holds.

    `table` has the column LINE (from 1) and the wanted columns as text, null where there is no value.
    `encoding` is the likely one of the lines that are not UTF-8.
    """

    table: pa.Table
    bad: tuple[BadLine, ...] = ()
    odd: tuple[OddValue, ...] = ()
    encoding: str | None = None


@dataclass(slots=True)
class RowsBuilder:
    """Gathers rows into Arrow batch by batch, so that a large file never stands in memory as Python objects."""

    columns: Sequence[str]
    odd: list[OddValue] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    rows: int = 0
    _lines: array[int] = field(default_factory=lambda: array("q"))
    _batches: list[pa.Table] = field(default_factory=list)
    _waiting: list[Sequence[str | None]] = field(default_factory=list)

    def add(self, line: int, values: Sequence[str | None]) -> None:
        self._lines.append(line)
        self._waiting.append(values)
        self.rows += 1
        if len(self._waiting) == BATCH_ROWS:
            self._flush()

    def add_bad(
        self, line: int, reason: str, text: str, kind: Literal["unreadable", "encoding"] = "unreadable"
    ) -> None:
        self.bad.append(BadLine(line, kind, reason, text[:SHOWN_CHARACTERS].translate(LONE_SURROGATES)))

    def build(self, encoding: str | None = None) -> Rows:
        self._flush()
        table = pa.concat_tables(self._batches)
        return Rows(table, tuple(self.bad), tuple(self.odd), encoding)

    def _flush(self) -> None:
        if not self._waiting and self._batches:
            return
        start = self.rows - len(self._waiting)
        cells = list(zip(*self._waiting, strict=True)) or [()] * len(self.columns)
        arrays = [self._words(column, values, start) for column, values in zip(self.columns, cells, strict=True)]
        lines = pa.array(self._lines, pa.int64())
        self._batches.append(pa.table([lines, *arrays], names=[LINE, *self.columns]))
        self._waiting.clear()
        self._lines = array("q")

    def _words(self, column: str, values: Sequence[str | None], start: int) -> pa.Array:
        try:
            return pa.array(values, pa.large_string())
        except UnicodeEncodeError:  # JSON may spell half a character: "\\ud83d"
            mended = [value and value.translate(LONE_SURROGATES) for value in values]
            self.odd.extend(
                OddValue(start + place, column, "half a character (a lone surrogate)", new)
                for place, (old, new) in enumerate(zip(values, mended, strict=True))
                if old != new
            )
            return pa.array(mended, pa.large_string())


def kind_of(value: Any) -> str:
    """What a JSON value is, in words for people."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return "text"


def as_word(value: Any) -> str:
    """A JSON value as the word that stands for it in a label or a slice: 0 is "0", true is "true"."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_cells(builder: RowsBuilder, record: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[str | None]:
    """The values of a JSON object for a row of `builder`; what is not of its column's kind is kept there as odd."""
    values = [record.get(column) for column in builder.columns]
    for place, value in enumerate(values):
        if type(value) is not str and value is not None:
            values[place] = _cell(builder, builder.columns[place], value, kinds)
    return values


def _cell(builder: RowsBuilder, column: str, value: Any, kinds: Mapping[str, Kind]) -> str | None:
    if kinds[column] == "json":
        return json_text(value)
    if kinds[column] == "word" and isinstance(value, bool | int | float):
        return as_word(value)
    builder.odd.append(OddValue(builder.rows, column, kind_of(value), value))
    return None
