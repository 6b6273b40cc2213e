"""CSV and TSV, strictly: no row is guessed, shifted, joined or dropped without a word."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.errors import DataError
from components.rows import Rows, RowsBuilder
from components.text_lines import TextLines

LONGEST_RECORD_LINES = 10_000  # a quote that never closes must not swallow the file


class _Records:
    """Feeds lines to `csv.reader` and can take those of a broken record back, all but the first."""

    def __init__(self, lines: Iterator[str], delimiter: str) -> None:
        self.lines = lines
        self.returned: deque[str] = deque()
        self.taken: list[str] = []
        self.before = 0  # lines before the current record
        csv.field_size_limit(2**31 - 1)
        self.reader = csv.reader(self, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_RECORD_LINES:
            raise StopIteration
        line = self.returned.popleft() if self.returned else next(self.lines)
        self.taken.append(line)
        return line

    def read(self) -> list[str] | None:
        """The next record, None at the end of the file.

        Raises:
            csv.Error: the record is broken; reading goes on with the line after its first.
        """
        self.before += len(self.taken)
        self.taken.clear()
        try:
            return next(self.reader)
        except StopIteration:
            return None
        except csv.Error:
            self.returned.extendleft(reversed(self.taken[1:]))
            del self.taken[1:]
            raise


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
    records = _Records(iter(lines), delimiter)
    records.read()
    builder = RowsBuilder(columns)
    while True:
        try:
            fields = records.read()
        except csv.Error as error:
            builder.add_bad(records.before + 1, _reason(str(error)), records.taken[0])
            continue
        if fields is None:
            break
        if len(fields) == len(header):
            builder.add(records.before + 1, [fields[place] for place in places])
        elif fields:  # a blank line has no fields
            cells = f"{len(fields)} cell{'s' * (len(fields) != 1)}"
            builder.add_bad(records.before + 1, f"{cells}, the header has {len(header)}", "".join(records.taken))
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
