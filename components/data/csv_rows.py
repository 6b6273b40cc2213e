"""CSV and TSV, strictly: no row is guessed, shifted, joined or dropped without a word."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from components.data.rows import Rows, RowsBuilder
from components.data.text_lines import TextLines
from components.errors import DataError

LONGEST_RECORD_LINES = 10_000  # a quote that never closes must not swallow the file


class Record(NamedTuple):
    """One record: the line it begins in, its cells, or what is wrong with its text."""

    line: int
    fields: list[str]
    error: str = ""
    text: str = ""


class Records:
    """The records of CSV lines. After a broken record reading goes on with the line after its first."""

    def __init__(self, lines: Iterator[str], delimiter: str) -> None:
        self.lines = lines
        self.delimiter = delimiter
        self.returned: deque[str] = deque()
        self.taken: list[str] = []
        csv.field_size_limit(2**31 - 1)

    def _take(self) -> str:
        if len(self.taken) >= LONGEST_RECORD_LINES:
            raise StopIteration
        line = self.returned.popleft() if self.returned else next(self.lines)
        self.taken.append(line)
        return line

    def __iter__(self) -> Iterator[Record]:
        number = 1
        while True:
            try:
                line = self.returned.popleft() if self.returned else next(self.lines)
            except StopIteration:
                return
            plain = line.rstrip("\r\n")
            if '"' in plain or "\r" in plain:
                record = self._quoted(number, line)
                number += len(self.taken)
                yield record
                continue
            if plain:  # blank lines are no records
                yield Record(number, plain.split(self.delimiter))
            number += 1

    def _quoted(self, number: int, line: str) -> Record:
        self.returned.appendleft(line)
        self.taken.clear()
        reader = csv.reader(iter(self._take, None), delimiter=self.delimiter, strict=True)
        try:
            return Record(number, next(reader), text=line)
        except csv.Error as error:
            self.returned.extendleft(reversed(self.taken[1:]))
            del self.taken[1:]
            return Record(number, [], _reason(str(error)), line)


def read_header(path: Path) -> tuple[list[str], str]:
    """The column names of a CSV file and the sign that separates them.

    Raises:
        DataError: there is no readable header, or a name stands there twice.
    """
    lines = TextLines(path)
    first = next(iter(lines), "")
    if lines.bad or not first.strip():
        reason = lines.bad[0][1] if lines.bad else "its first line is blank"
        raise DataError(
            f"{path.name} has no readable header: {reason}.", "save it as UTF-8 with column names in line 1."
        )
    if "\r" in first.rstrip("\r\n"):
        raise DataError(f"{path.name} ends its lines with CR alone.", "save it with line feeds (LF or CRLF).")
    delimiter = _delimiter(path, first)
    try:
        header = next(csv.reader([first], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path.name}:1: the header cannot be read: {error}.", "mend the quotes in line 1.") from error
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(
            f"{path.name} has more than one column '{twice[0]}'.", "rename or remove the column that is not meant."
        )
    return header, delimiter


def read_csv(path: Path, columns: Sequence[str]) -> Rows:
    """The wanted columns of a CSV file; the header must hold them.

    Raises:
        DataError: the header cannot be read.
    """
    header, delimiter = read_header(path)
    places = [header.index(column) for column in columns]
    lines = TextLines(path)
    builder = RowsBuilder(columns)
    width = len(header)
    records = iter(Records(iter(lines), delimiter))
    next(records)  # the header
    pick = itemgetter(*places) if len(places) > 1 else lambda fields: (fields[places[0]],)
    for line, fields, error, text in records:
        if len(fields) == width:
            builder.add(line, pick(fields))
        else:
            cells = f"{len(fields)} cell{'s' * (len(fields) != 1)}, the header has {width}"
            builder.add_bad(line, error or cells, text or delimiter.join(fields))
    for line, reason, text in lines.bad:
        builder.add_bad(line, reason, text, "encoding")
    return builder.build(lines.encoding())


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    # Excel in much of Europe writes semicolons into what it calls CSV.
    return next((sign for sign in ",;\t" if sign in header), ",")


def _reason(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote that opens here is not closed"
    if "expected after" in error:
        return "a quote in this row is not closed, or not doubled"
    return error
