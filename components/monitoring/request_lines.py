"""The endpoint's request log as records: whatever a crash or another version has left in it is passed over.

The form of a line is in docs/monitoring.md. A log that grows too large or a day old becomes NAME.1, NAME.1 becomes
NAME.2; reading goes from the newest line back, so that only what is needed is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from components.errors import ConfigError, DataError

PAGES = ("/predict",)
BATCH, FEEDBACK = "/batch", "/feedback"
HASH_BYTES = 8
OURS = 428  # a status above is a fault of ours: 429 and 5xx; 4xx below are the client's


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the log: `rows` are the texts that were measured, none where there was no answer."""

    id: str
    time: str
    version: int
    status: int
    ms: float
    rows: tuple[Mapping[str, Any], ...]
    lost: int


def read_requests(
    paths: Sequence[Path], *, version: int, since: str = "", rows: int | None = None, batches: bool = False
) -> list[Request]:
    """The newest requests in logs, the oldest first.

    Args:
        paths: logs by the names that they are written under; what they were renamed to is found beside them.
        version: of the model, whose answers count.
        since: only what came after this time, ISO 8601 in UTC.
        rows: about so many answered texts are enough.
        batches: whether `POST /batch` counts.

    Raises:
        DataError: a log is there and cannot be read.
    """
    pages = (*PAGES, BATCH) if batches else PAGES
    found: dict[str, Request] = {}  # by id: a log that is renamed while it is read shows lines twice
    for path in paths:
        count = 0
        for request in _backwards(path, pages):
            if request.time <= since:
                break
            if request.version == version and request.id not in found:
                found[request.id] = request
                count += len(request.rows)
            if rows is not None and count >= rows:
                break
    return sorted(found.values(), key=lambda request: request.time)


def read_texts(paths: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The texts that were written down of what was asked (`serving.log_texts`), the newest first, with log and request.

    Raises:
        DataError: a log is there and cannot be read.
    """
    for path in paths:
        for line in _lines_backwards(path):
            try:
                content = json.loads(line)
                asked = () if content["page"] == FEEDBACK else content["texts"]  # what people labelled already
                found = [(f"{path.name}:{content['request']}", row) for row in asked]
            except (ValueError, KeyError, TypeError):
                continue  # most lines have no texts
            yield from ((name, row) for name, row in found if isinstance(row, dict))


def find_logs(named: Sequence[str] | None, own: Path, folder: Path) -> list[Path]:
    """The logs that a run file names, or the one of the home folder.

    Raises:
        ConfigError: nothing is there under a name.
    """
    if named is None:
        return [own]
    found = [Path(path) for name in named for path in sorted(glob(str(folder / name)))]  # noqa: PTH207 - may be absolute
    if not found:
        raise ConfigError(f"monitor.log: there is no {', '.join(named)}.", "name the endpoints' request logs there.")
    return found


def hash_texts(texts: Sequence[str], salt: bytes) -> str:
    """What stands for the texts of a row in the log: a keyed hash, which nobody without the key can try out."""
    content = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, key=salt, digest_size=HASH_BYTES).hexdigest()


def salt_file(log: Path) -> Path:
    """The key of the hashes in a log lies beside it."""
    return log.with_suffix(".salt")


def read_salt(log: Path) -> bytes:
    """The key of the hashes in a log.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return salt_file(log).read_bytes()[:64]
    except OSError as error:
        raise DataError(f"{salt_file(log)} cannot be read: {error.strerror}.", "let this user read it.") from error


def log_files(path: Path) -> list[Path]:
    """A log and what it was renamed to, the newest first."""
    older = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdigit()]
    return [path, *sorted(older, key=lambda each: int(each.suffix[1:]))]


def _backwards(path: Path, pages: Sequence[str]) -> Iterator[Request]:
    for line in _lines_backwards(path):
        request = _request(line, pages)
        if request is not None:
            yield request


def _lines_backwards(path: Path) -> Iterator[bytes]:
    for file in log_files(path):
        try:
            lines = file.read_bytes().splitlines()  # 20 MiB at most
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(
                f"{file} cannot be read: {error.strerror}.", "let this user read the request log."
            ) from error
        yield from reversed(lines)


def _request(line: bytes, pages: Sequence[str]) -> Request | None:
    """What a line says of a request to one of the pages; None for anything else."""
    try:
        found = json.loads(line)
        if found["page"] not in pages:
            return None
        measured = tuple(row for row in found["rows"] if "confidence" in row)
        return Request(
            f"{found['request']} {found.get('part', 0)}",
            found["time"],
            int(found["version"] or 0),
            int(found["status"]),
            float(found["ms"]),
            measured,
            int(found.get("lost", 0)),
        )
    except (ValueError, KeyError, TypeError):
        return None
