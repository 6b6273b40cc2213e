"""Finished work by the digest of what it depends on: a finished step is found again, a half-finished one never is.

`<root>/<model>/<step>/<digest>/` holds a step's files; `step.json`, written last, makes it count. Paths stand in it
relative to that folder, so that the root can be moved. Prefect's own cache cannot do this: its keys are made of task
inputs, and it does not see that a file behind a path has changed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from components.digests import canonical, digest_of
from components.errors import BusyError, ProjectError, StorageError
from components.records import as_json

MARKER = "step.json"
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work: its name, the model it is for, and the digest of each thing it depends on, by name."""

    name: str
    model: str
    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest_of([self.name, self.model, dict(self.parts)])


@dataclass(frozen=True, slots=True)
class StepStore:
    """The finished steps below one folder."""

    root: Path

    def folder(self, step: Step) -> Path:
        """Where the files of a step lie, whether it is finished or not."""
        return self.root / step.model / step.name / step.digest[:16]

    def find(self, step: Step, record_type: type[Record]) -> Record | None:
        """The record of a finished step, or None when it is not finished or its files are no longer whole."""
        from pydantic import TypeAdapter

        folder = self.folder(step)
        marker = _read_marker(folder)
        if marker is None or marker["digest"] != step.digest or not _whole(folder, marker["files"]):
            return None
        record = TypeAdapter(record_type).validate_python(marker["record"])
        with suppress(OSError):  # a store that can only be read
            os.utime(folder / MARKER)  # when it was last used: `components/retention.py` keeps the latest
        return cast(Record, _with_paths(record, folder.joinpath))

    def run(self, step: Step, work: Callable[[Path], Record], *, resumable: bool = False) -> Record:
        """Do the work in the step's folder and mark it finished.

        Args:
            work: gets the folder and returns the step's record.
            resumable: the work goes on from what an interrupted try left in the folder.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        folder = self.folder(step)
        with storage_errors(folder):
            if folder.exists() and not resumable:
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).unlink(missing_ok=True)
            record = work(folder)
            _write_marker(folder, step, record)
        return record

    def why(self, step: Step) -> str:
        """Why a step has to run: what differs from the last finished one of its kind."""
        finished = (self.root / step.model / step.name).glob(f"*/{MARKER}")
        markers = sorted(finished, key=lambda path: path.stat().st_mtime)
        if not markers:
            return "never done before"
        last = _read_marker(markers[-1].parent)
        before = last["parts"] if last else {}
        changed = sorted(name for name in step.parts.keys() | before if step.parts.get(name) != before.get(name))
        return f"changed: {', '.join(changed)}" if changed else "its files are gone or damaged"


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker


def _whole(folder: Path, sizes: Mapping[str, int]) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _write_marker(folder: Path, step: Step, record: Any) -> None:
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    movable = _with_paths(record, lambda path: path.relative_to(folder) if path.is_relative_to(folder) else path)
    content = {"digest": step.digest, "parts": dict(step.parts), "files": files, "record": as_json(movable)}
    write_whole(folder / MARKER, canonical(content))


def _with_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """A record with every path in it changed, however deep it lies."""
    if isinstance(value, Path):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _with_paths(getattr(value, each.name), change) for each in fields(value)})
    if isinstance(value, Mapping):
        return {key: _with_paths(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_paths(item, change) for item in value)
    return value


def write_whole(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a small file so that a reader sees the old content or the new, never a part.

    Args:
        mode: who may read and write it, before the process's mask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


LEAST_FREE = 1 << 20  # bytes; with less, what fails has most likely failed for it


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a StorageError; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder) from error
        if error.errno == errno.EROFS:
            raise _unwritable(error, folder) from error
        raise


@contextmanager
def failures_of_a_full_disk(folder: Path) -> Iterator[None]:
    """As `disk_errors`, and whatever else fails while the disk is full: a database or a server seldom says why.

    The disk of temporary files counts as well: SQLite uses it.
    """
    try:
        with disk_errors(folder):
            yield
    except ProjectError:
        raise
    except Exception as error:
        full = next((place for place in (folder, Path(tempfile.gettempdir())) if is_full(place)), None)
        if full is None:
            raise
        raise _full(full) from error


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """As `disk_errors`, and also a folder without rights, or a file where a folder should be."""
    try:
        with disk_errors(folder):
            yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise _unwritable(error, folder) from error
        raise


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder is full now."""
    return folder.exists() and shutil.disk_usage(folder).free < LEAST_FREE


def _full(folder: Path) -> StorageError:
    return StorageError(
        f"The disk that holds {folder} is full.",
        "free some space, or set REBERT_HOME (for temporary files TMPDIR) to a folder on a larger disk; "
        "finished steps are kept.",
    )


def _unwritable(error: OSError, folder: Path) -> StorageError:
    return StorageError(
        f"{error.filename or folder} cannot be written: {error.strerror}.",
        "make it writable, or set REBERT_HOME to another folder.",
    )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for a moment, where the system keeps temporary files.

    Raises:
        StorageError: the disk is full, or cannot be written.
    """
    try:
        place = Path(tempfile.gettempdir())  # the first that a byte can be written to
    except FileNotFoundError as error:
        raise StorageError(f"{error.strerror}.", "free some space, or set TMPDIR to a folder that has some.") from error
    with disk_errors(place), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def model_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a model's lock: one run of a model at a time on this machine; freed by the system when a process dies.

    Raises:
        BusyError: another process holds it.
    """
    from filelock import FileLock, Timeout

    holder = folder / f"{name}.pid"
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{name}.lock", timeout=0).acquire()
    except Timeout as error:
        process = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
        raise BusyError(
            f"Another run of '{name}' is at work (process {process}).", "wait for it to end, or end it, and run again."
        ) from error
    with lock:
        with storage_errors(folder):
            holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
