"""Corrections as training files: what people sent is copied as it is when a run begins, and read like a delivery.

An endpoint goes on writing while a run is at work. The copy holds what was there at the start, stays for a replay, and
is named after its content: the same corrections again are no new copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.config import RunConfig
from components.data.data_files import DataFile, find_files
from components.data.rows import LINE, Rows
from components.digests import digest_file
from components.errors import DataError
from components.records import Split
from components.settings import Settings
from components.step_store import storage_errors
from components.task_types import TaskType

SNAPSHOTS = "snapshots"
FOLDER_DIGEST = 16  # characters of a digest that name a copy's folder
PREFIX = "feedback:"  # before the columns of a delivery that say where a correction comes from
PROVENANCE = ("time", "version", "digest", "client", "id", "request")  # keys that the endpoint writes beside a row


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The corrections of a file, and how many of its rows have no answer yet."""

    rows: Rows
    unlabelled: int


def with_feedback(
    config: RunConfig, files: Mapping[Split, Sequence[DataFile]], settings: Settings
) -> dict[Split, tuple[DataFile, ...]]:
    """The data files with the corrections behind the training files, where the run file asks for them.

    Raises:
        DataError: a file of corrections is not there, or is a data file as well.
        StorageError: the copy cannot be written.
    """
    found = {split: tuple(named) for split, named in files.items()}
    data_files = {file.path.resolve() for named in found.values() for file in named}
    for path, shown in _sources(config, settings):
        if path.resolve() in data_files:
            raise DataError(f"{shown} is named as data and as data.feedback.", "remove it from one of the two.")
        if copy := _copied(path, settings.feedback / SNAPSHOTS / config.name):
            found["train"] = (*found["train"], DataFile(copy, digest_file(copy), feedback=shown))
    return found


def _sources(config: RunConfig, settings: Settings) -> list[tuple[Path, str]]:
    """The files of corrections, each with its name for people."""
    named = config.data.feedback
    if isinstance(named, bool):
        sent = settings.feedback / f"{config.name}.jsonl"
        return [(sent, f"feedback/{sent.name}")] if named and sent.is_file() else []
    return [(path, Path(relpath(path, config.folder)).as_posix()) for path in find_files(named, config.folder)]


def _copied(source: Path, folder: Path) -> Path | None:
    """A copy of a file, for its owner only; None where it holds nothing."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=folder, prefix=".draft-")  # made with mode 600
        draft = Path(name)
        try:
            with os.fdopen(number, "wb") as target, source.open("rb") as file:
                shutil.copyfileobj(file, target)
            if source.suffix == ".jsonl":
                _cut_half_line(draft)
            if not draft.stat().st_size:
                return None
            place = folder / digest_file(draft)[:FOLDER_DIGEST] / source.name
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                draft.replace(place)
            with suppress(OSError):
                os.utime(place.parent)  # when it was last used: `components/retention.py` keeps the latest
            return place
        finally:
            draft.unlink(missing_ok=True)


def _cut_half_line(path: Path) -> None:
    """Take a line away that was still being written."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def columns_of_feedback(task_type: TaskType, named: Mapping[str, str], present: Sequence[str]) -> dict[str, str]:
    """The columns to read: corrections have our own names, whatever the data files call theirs.

    Args:
        named: `data.columns`: an optional column is read where the data files have it.
        present: the columns of the file.
    """
    return task_type.columns({role: role for role in named}, present)


def answered(rows: Rows, columns: Mapping[str, str], task_type: TaskType) -> FoundRows:
    """The rows that have an answer: in a file that people fill in, the others are still to come."""
    roles = task_type.roles()
    truth = [name for role, name in columns.items() if role not in task_type.texts and not roles[role].optional]
    given = [pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(rows.table[name])), 0) for name in truth]
    odd = {value.row for value in rows.odd if value.column in truth}  # answers too, though of a wrong kind
    kept = pc.fill_null(given[0] if len(given) == 1 else pc.or_kleene(*given), False).to_numpy().copy()
    kept[list(odd)] = True
    places = kept.cumsum() - 1
    moved = tuple(replace(value, row=int(places[value.row])) for value in rows.odd if kept[value.row])
    return FoundRows(replace(rows, table=rows.table.filter(pa.array(kept)), odd=moved), int((~kept).sum()))


def provenance_columns(rows: Rows) -> dict[str, pa.Array]:
    """Where each correction comes from, as columns of a delivery; those that the file has."""
    return {PREFIX + name: rows.table[name] for name in PROVENANCE if name in rows.table.column_names and name != LINE}
