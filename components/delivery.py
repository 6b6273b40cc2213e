"""A delivery: all data files that a run file names, as one table of words, with what could not be read beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.config import RunConfig
from components.data_files import DataFile, columns_of, find_files, patterns_of, read_rows
from components.digests import digest_once
from components.errors import DataError
from components.records import SPLITS, Split
from components.rows import BadLine, OddValue, Rows
from components.task_types import find_task_type

COLUMN = "column:"  # before the names of the file's own columns, which may be called like ours
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was delivered.

    `table` has `source` (position in SPLITS), `file` (position in `files`), `line`, the task type's columns by our
    names, and `column:NAME` for slices and for what the run file's own expectations look at. `odd` holds positions in
    `table` and our names; `problems` are the files that could not be read, by split.
    """

    table: pa.Table
    files: tuple[str, ...]
    columns: Mapping[str, str]
    bad: tuple[tuple[Split, str, BadLine], ...]
    odd: tuple[OddValue, ...]
    problems: tuple[tuple[Split, DataError], ...]
    encodings: Mapping[str, str]
    digests: Mapping[str, str]

    def row_ids(self, rows: Any = None) -> Any:
        """`file:line` of the rows at these positions, or of all, as an Arrow array."""
        table = self.table if rows is None else self.table.take(pa.array(rows))
        names = pa.array(self.files, pa.large_string()).take(table["file"].combine_chunks())
        return pc.binary_join_element_wise(
            names, table["line"].combine_chunks().cast(pa.large_string()), pa.scalar(":", pa.large_string())
        )

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
        self.columns = dict(find_task_type(config.task_type).columns(config.data.columns))
        self.own = list(dict.fromkeys([*config.evaluation.slices, *_looked_at(config)]))
        self.files: dict[Path, Split] = {}
        self.tables: list[pa.Table] = []
        self.bad: list[tuple[Split, str, BadLine]] = []
        self.odd: list[OddValue] = []
        self.problems: list[tuple[Split, DataError]] = []
        self.encodings: dict[str, str] = {}
        self.rows = 0

    def find_and_read(self, split: Split, patterns: Sequence[str]) -> None:
        try:
            paths = find_files(patterns, self.config.folder)
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
        present = columns_of(path)
        required = dict.fromkeys([*self.columns.values(), *self.config.evaluation.slices])
        optional = [name for name in self.own if name in present]
        texts = [name for role, name in self.columns.items() if role != "label"]
        self._add(split, path, read_rows(path, list(dict.fromkeys([*required, *optional])), texts))

    def _add(self, split: Split, path: Path, rows: Rows) -> None:
        name = self.name(path)
        count = len(rows.table)
        ours = {role: rows.table[column] for role, column in self.columns.items()}
        own = {COLUMN + column: rows.table[column] for column in self.own if column in rows.table.column_names}
        place = {
            "source": pa.array(np.full(count, SPLITS.index(split), np.int8)),
            "file": pa.array(np.full(count, len(self.files) - 1, np.int32)),
        }
        self.tables.append(pa.table({**place, "line": rows.table["line"], **ours, **own}))
        self.bad.extend((split, name, line) for line in rows.bad)
        roles = {column: role for role, column in self.columns.items()}
        self.odd.extend(
            OddValue(self.rows + odd.row, roles[odd.column], odd.kind, odd.original)
            for odd in rows.odd
            if odd.column in roles
        )
        if rows.encoding:
            self.encodings[name] = rows.encoding
        self.rows += count

    def name(self, path: Path) -> str:
        """The file as the run file's author would write it."""
        return Path(relpath(path, self.config.folder)).as_posix()

    def delivery(self) -> Delivery:
        return Delivery(
            table=pa.concat_tables(self.tables, promote_options="default").combine_chunks()
            if self.tables
            else pa.table({}),
            files=tuple(self.name(path) for path in self.files),
            columns=self.columns,
            bad=tuple(self.bad),
            odd=tuple(self.odd),
            problems=tuple(self.problems),
            encodings=self.encodings,
            digests={self.name(path): digest for path in self.files if (digest := _digest_if_readable(path))},
        )


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
