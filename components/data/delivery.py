"""A delivery: all data files that a run file names, as one table of words, with what could not be read beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.config import RunConfig
from components.data.canonical_rows import canonical_roles, rewrite
from components.data.data_files import DataFile, columns_of, find_files, patterns_of, read_rows
from components.data.dated import date_column, files_until, rows_until
from components.data.feedback import PROVENANCE, answered, columns_of_feedback, provenance_columns
from components.data.rows import LINE, BadLine, Kind, OddValue, Rows
from components.digests import digest_once
from components.errors import DataError
from components.records import SPLITS, Split
from components.task_types import Fault, find_task_type

COLUMN = "column:"  # before the names of the file's own columns, which may be called like ours
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was delivered.

    `table` has `source` (position in SPLITS), `file` (position in `files`), `line`, the columns in `roles` (texts, and
    `label` where rows have a true answer), and `column:NAME` for slices and for what the run file's own expectations
    look at. `columns` are the roles that were read with their names in the files, and `originals` is a table parallel
    to `table` that has them; the two tables are one where the task type does not rewrite. `odd` holds positions and our
    names, `faults` the rows that the task type cannot read or had to mend, `unread` those of which there is nothing;
    `problems` are the files that could not be read, by split. `feedback` has the positions in `files` of corrections
    that people sent, whose rows have columns that begin with `feedback:`; `unlabelled` rows of them had no answer yet.
    """

    table: pa.Table
    originals: pa.Table
    files: tuple[str, ...]
    roles: tuple[str, ...]
    columns: Mapping[str, str]
    bad: tuple[tuple[Split, str, BadLine], ...]
    odd: tuple[OddValue, ...]
    faults: Mapping[int, Fault]
    unread: tuple[int, ...]
    problems: tuple[tuple[Split, DataError], ...]
    encodings: Mapping[str, str]
    digests: Mapping[str, str]
    feedback: frozenset[int] = frozenset()
    unlabelled: int = 0

    @property
    def texts(self) -> tuple[str, ...]:
        """What the model reads, in the order of its segments."""
        return tuple(role for role in self.roles if role != "label")

    def column(self, role: str, rows: Any = None) -> Any:
        """One of `roles` as an Arrow array, of the rows at these positions or of all."""
        column = self.table[role].combine_chunks()
        return column if rows is None else column.take(pa.array(rows))

    def row_ids(self, rows: Any = None) -> Any:
        """`file:line` of the rows at these positions, or of all, as an Arrow array."""
        table = self.table if rows is None else self.table.take(pa.array(rows))
        names = pa.array(self.files, pa.large_string()).take(table["file"].combine_chunks())
        return pc.binary_join_element_wise(
            names, table["line"].combine_chunks().cast(pa.large_string()), pa.scalar(":", pa.large_string())
        )

    def is_feedback(self, rows: Any = None) -> Any:
        """Whether each row is a correction that somebody sent, as numpy array."""
        files = self.table["file"].to_numpy() if len(self.table) else np.empty(0, np.int32)
        found = np.isin(files, list(self.feedback))
        return found if rows is None else found[rows]

    def source(self) -> Any:
        """Position in SPLITS of each row, as numpy array."""
        return self.table["source"].to_numpy()


def read_delivery(config: RunConfig, files: Mapping[Split, Sequence[DataFile]] | None = None) -> Delivery:
    """Read every file of the run file; what cannot be read becomes a problem, and the others are read all the same.

    Args:
        config: the run file.
        files: the files as they were found before; None looks for them now.

    Raises:
        DataError: one of `files` no longer holds what it held.
    """
    reader = _Reader(config)
    if files is None:
        for split, patterns in patterns_of(config).items():
            reader.find_and_read(split, patterns)
        return reader.delivery()
    for split, found in files.items():
        reader.copies |= {file.path: file.feedback for file in found if file.feedback}
        reader.read_files(split, [file.path for file in found])
    delivery = reader.delivery()
    _require_unchanged(delivery, {reader.name(file.path): file.digest for found in files.values() for file in found})
    return delivery


def _require_unchanged(delivery: Delivery, before: Mapping[str, str]) -> None:
    """What was read goes by the digests that were taken before: a file that is still being written must not."""
    changed = [name for name, digest in before.items() if delivery.digests.get(name) != digest]
    if changed:
        raise DataError(f"{', '.join(changed)} changed while it was read.", "run again once the delivery is complete.")


class _Reader:
    """Gathers the rows of file after file."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.task_type = find_task_type(config.task_type)
        self.settings = self.task_type.settings.model_validate(dict(config.task)).model_dump(mode="json")
        self.columns: dict[str, str] = {}
        self.own = list(dict.fromkeys([*config.evaluation.columns, *_looked_at(config)]))
        self.files: dict[Path, Split] = {}
        self.copies: dict[Path, str] = {}  # of corrections: the copy that is read, and what people know it by
        self.unlabelled = 0
        self.tables: list[pa.Table] = []
        self.originals: list[pa.Table] = []
        self.bad: list[tuple[Split, str, BadLine]] = []
        self.odd: list[OddValue] = []
        self.faults: dict[int, Fault] = {}
        self.unread: list[int] = []
        self.problems: list[tuple[Split, DataError]] = []
        self.encodings: dict[str, str] = {}
        self.rows = 0

    def find_and_read(self, split: Split, patterns: Sequence[str]) -> None:
        try:
            paths = files_until(self.config, split, find_files(patterns, self.config.folder))
        except DataError as error:
            self.problems.append((split, error))
        else:
            self.read_files(split, paths)

    def read_files(self, split: Split, paths: Sequence[Path]) -> None:
        for path in paths:
            try:
                self._read_file(split, path)
            except DataError as error:
                self.problems.append((split, error))

    def _read_file(self, split: Split, path: Path) -> None:
        if path in self.files:
            raise DataError(
                f"{path.name} is named for {self.files[path]} and for {split}.", f"remove it from data.{split}."
            )
        self.files[path] = split
        if path in self.copies:
            self._read_feedback(path)
            return
        present = columns_of(path)
        columns = self.task_type.columns(self.config.data.columns, present)
        date = date_column(self.config, split, present, self.name(path))
        dated: dict[str, Kind] = {date: "word"} if date else {}
        rows = read_rows(path, dated | self._kinds(columns, present))
        self._add(split, path, columns, rows_until(rows, date, self.config, self.name(path)) if date else rows)

    def _read_feedback(self, path: Path) -> None:
        """Corrections: training rows by our own column names, with where they come from; of a day by their time."""
        present = columns_of(path)
        columns = columns_of_feedback(self.task_type, self.config.data.columns, present)
        roles = self.task_type.roles()
        kinds: dict[str, Kind] = {name: "word" for name in PROVENANCE if name in present}
        if self.config.data.as_of is not None:
            kinds["time"] = "word"
        rows = read_rows(path, kinds | {name: roles[role].kind for role, name in columns.items()})
        if self.config.data.as_of is not None:
            rows = rows_until(rows, "time", self.config, self.name(path))
        found = answered(rows, columns, self.task_type)
        self.unlabelled += found.unlabelled
        self._add("train", path, columns, found.rows)

    def _kinds(self, columns: Mapping[str, str], present: Sequence[str]) -> dict[str, Kind]:
        """How each column that is needed or looked at is read."""
        roles = self.task_type.roles()
        looked_at = [name for name in self.own if name in present]
        own: dict[str, Kind] = dict.fromkeys([*self.config.evaluation.columns, *looked_at], "word")
        return {name: roles[role].kind for role, name in columns.items()} | {
            name: kind for name, kind in own.items() if name not in columns.values()
        }

    def _add(self, split: Split, path: Path, columns: Mapping[str, str], rows: Rows) -> None:
        name = self.name(path)
        count = len(rows.table)
        own = {COLUMN + column: rows.table[column] for column in self.own if column in rows.table.column_names}
        own |= provenance_columns(rows) if path in self.copies else {}
        place = {
            "source": pa.array(np.full(count, SPLITS.index(split), np.int8)),
            "file": pa.array(np.full(count, len(self.files) - 1, np.int32)),
        }
        roles = {column: role for role, column in columns.items()}
        odd = [replace(value, column=roles[value.column]) for value in rows.odd if value.column in roles]
        originals = pa.table({role: rows.table[column] for role, column in columns.items()})
        if self.task_type.rewrites:
            ours, odd = self._rewrite(rows.table, columns, odd)
            self.originals.append(originals)
        else:
            ours = originals.select(canonical_roles(self.task_type, columns))
        self.tables.append(pa.table({**place, "line": rows.table[LINE], **_by_name(ours), **own}))
        # Corrections have our names: the run file's own expectations go by those of the data files.
        self.columns = {**columns, **self.columns} if path in self.copies else {**self.columns, **columns}
        self.bad.extend((split, name, line) for line in rows.bad)
        self.odd.extend(replace(value, row=self.rows + value.row) for value in odd)
        if rows.encoding:
            self.encodings[name] = rows.encoding
        self.rows += count

    def _rewrite(
        self, table: pa.Table, columns: Mapping[str, str], odd: Sequence[OddValue]
    ) -> tuple[pa.Table, list[OddValue]]:
        """The rows of one file as the task type reads them, and all values in them that are no text."""
        skipped = {value.row for value in odd}
        read, faults = rewrite(table, columns, self.task_type, self.settings, skipped)
        self.faults |= {self.rows + row: fault for row, fault in faults.items()}
        lost = {row for row, fault in faults.items() if fault.row is None}
        self.unread.extend(self.rows + row for row in sorted(skipped | lost))
        return read.table, [*odd, *read.odd]

    def name(self, path: Path) -> str:
        """The file as the run file's author would write it."""
        return self.copies.get(path) or Path(relpath(path, self.config.folder)).as_posix()

    def delivery(self) -> Delivery:
        table = _whole(self.tables)
        return Delivery(
            table=table,
            originals=_whole(self.originals) if self.task_type.rewrites else table,
            files=tuple(self.name(path) for path in self.files),
            roles=tuple(role for role in (*self.task_type.texts, "label") if role in table.column_names),
            columns=self.columns,
            bad=tuple(self.bad),
            odd=tuple(self.odd),
            faults=self.faults,
            unread=tuple(self.unread),
            problems=tuple(self.problems),
            encodings=self.encodings,
            digests={self.name(path): digest for path in self.files if (digest := _digest_if_readable(path))},
            feedback=frozenset(place for place, path in enumerate(self.files) if path in self.copies),
            unlabelled=self.unlabelled,
        )


def _whole(tables: Sequence[pa.Table]) -> pa.Table:
    """One table; a column that only some files have is null in the others."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks() if tables else pa.table({})


def _by_name(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _digest_if_readable(path: Path) -> str | None:
    try:
        return digest_once(path)
    except OSError:
        return None  # it has been reported with its reason, or is gone since


def _looked_at(config: RunConfig) -> list[str]:
    """Columns of the files that the run file's own expectations name."""
    names: list[str] = []
    for expectation in config.validation.expectations:
        arguments = expectation.model_extra or {}
        for key in COLUMN_ARGUMENTS:
            value = arguments.get(key, [])
            names.extend([value] if isinstance(value, str) else map(str, value))
    return names
