"""The data of a day: of all files and rows those that were there by its end, by what `data.dated_by` says.

A day ends by the clock of `schedule.timezone`. Files for validation and test that say nothing of a date, such as frozen
rows, have always been there; training data must say it, or asking for a day would change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from os.path import relpath
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.config import RunConfig
from components.data.rows import LINE, Rows
from components.errors import DataError
from components.records import Split

# 2026-11-30, 2026_11_30, 2026/11/30, 20261130, and the folders year=2026/month=11/day=30 of partitioned data.
IN_PATH = re.compile(r"(?<!\d)(\d{4})([-_/.]?)(\d{2})\2(\d{2})(?!\d)")
PARTITIONS = re.compile(r"year=(\d{4})/month=(\d{1,2})/day=(\d{1,2})(?!\d)")
COLUMN = "column:"
SHOWN = 5  # names in an error


def files_until(config: RunConfig, split: Split, paths: Sequence[Path]) -> list[Path]:
    """The files of a split that were there by the end of `data.as_of`; all where none is asked for.

    Raises:
        DataError: files say nothing of a date, or all are later.
    """
    day, kind = config.data.as_of, config.data.dated_by
    if day is None or kind is None or kind.startswith(COLUMN):
        return list(paths)
    dates = {path: _date_of_file(path, config) for path in paths}
    undated = [path for path, found in dates.items() if found is None]
    if undated and (split == "train" or len(undated) < len(paths)):
        raise DataError(
            f"{_named(undated)} of data.{split}: no date in the path, which data.dated_by asks for.",
            "name such files like week-2026-11-30.csv, or set data.dated_by to modified or column:NAME.",
        )
    kept = [path for path, found in dates.items() if found is None or found <= day]
    if not kept:
        first = min(found for found in dates.values() if found is not None)
        raise DataError(
            f"No file of data.{split} is of {day} or before; the first is of {first}.", "name that day or a later one."
        )
    return kept


def date_column(config: RunConfig, split: Split, present: Sequence[str], name: str) -> str | None:
    """The column that dates the rows of a file, where rows of a day are asked for; None where all are taken.

    Args:
        present: the columns that the file has.
        name: the file's, for errors.

    Raises:
        DataError: training data without it.
    """
    kind = config.data.dated_by or ""
    if config.data.as_of is None or not kind.startswith(COLUMN):
        return None
    column = kind.removeprefix(COLUMN)
    if column in present:
        return column
    if split != "train":
        return None
    listed = ", ".join(f"'{each}'" for each in present[:20])
    raise DataError(f"{name} has no column '{column}' that dates its rows; it has: {listed}.", "correct data.dated_by.")


def rows_until(rows: Rows, column: str, config: RunConfig, name: str) -> Rows:
    """The rows of a file that were there by the end of `data.as_of`; lines that give no row stay, to be reported.

    Args:
        column: what dates them.
        name: the file's, for errors.

    Raises:
        DataError: a row says no date.
    """
    words = rows.table[column].combine_chunks()
    dates = {word: _date_of_word(word, ZoneInfo(config.schedule.timezone)) for word in words.unique().to_pylist()}
    wrong = pa.array([word for word, found in dates.items() if found is None], words.type)
    if len(wrong):
        raise _no_dates(rows, column, pc.is_in(words, wrong).to_numpy(zero_copy_only=False), name)
    day = config.data.as_of or date.max
    early = pa.array([word for word, found in dates.items() if found is not None and found <= day], words.type)
    return _only(rows, pc.is_in(words, early).to_numpy(zero_copy_only=False))


def _date_of_file(path: Path, config: RunConfig) -> date | None:
    if config.data.dated_by == "modified":
        return datetime.fromtimestamp(path.stat().st_mtime, ZoneInfo(config.schedule.timezone)).date()
    below = Path(relpath(path, config.folder)).as_posix()
    found = [match.group(1, 3, 4) for match in IN_PATH.finditer(below)]
    found += [match.groups() for match in PARTITIONS.finditer(below)]
    days = [day for numbers in found if (day := _day(*map(int, numbers))) is not None]
    return days[-1] if days else None


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:  # other digits that only look like one
        return None


def _date_of_word(word: str | None, zone: ZoneInfo) -> date | None:
    """The day of an ISO 8601 date or time; a time with an offset is taken to the run file's clock."""
    try:
        when = datetime.fromisoformat((word or "").strip())
        return (when.astimezone(zone) if when.tzinfo else when).date()
    except (ValueError, OverflowError):  # the second: a time at the end of the calendar
        return None


def _no_dates(rows: Rows, column: str, wrong: NDArray[np.bool_], name: str) -> DataError:
    first = int(np.flatnonzero(wrong)[0])
    word = rows.table[column][first].as_py()
    said = f"'{word}', which is no date" if word else "nothing"
    more = f", and {wrong.sum() - 1:,} more rows are like that" if wrong.sum() > 1 else ""
    return DataError(
        f"{name}:{rows.table[LINE][first].as_py()}: column '{column}' says {said}{more}.",
        "write dates such as 2026-11-30 or 2026-11-30T09:15:00+01:00, or name another column in data.dated_by.",
    )


def _only(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    places = np.cumsum(kept) - 1
    odd = tuple(replace(value, row=int(places[value.row])) for value in rows.odd if kept[value.row])
    return replace(rows, table=rows.table.filter(pa.array(kept)), odd=odd)


def _named(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[:SHOWN])
    return f"{names} and {len(paths) - SHOWN} more" if len(paths) > SHOWN else names
