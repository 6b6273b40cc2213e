"""New data: what lies at paths, globs and addresses of object stores, and when it is complete.

Local folders and every store that fsspec knows (s3, gs, az, sftp, http) are looked at in the same way, by name, size
and time of change, without reading a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from components.errors import DataError
from components.settings import without_passwords

UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")
MOST_SAID = 200  # characters of a driver's error
TIMES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")  # as each store calls it


def look_for(patterns: Sequence[str], folder: Path, done_file: str | None = None) -> dict[str, str]:
    """What lies there now: for each file its size and time, or what else tells one content from another.

    Files that are hidden, empty or named like unfinished ones do not count; nor do those in whose folder there is no
    `done_file`, where one is asked for.

    Args:
        patterns: paths or globs from `folder`, or addresses such as s3://bucket/reviews/*.csv.

    Raises:
        DataError: the store does not answer, or its driver is not installed.
    """
    return {path: facts for each in patterns for path, facts in _listed(each, folder, done_file).items()}


@dataclass(slots=True)
class Calm:
    """Notices when what lies there has stopped changing: a delivery that is still coming changes from look to look."""

    settle_seconds: float
    seen: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None

    def settled(self, found: Mapping[str, str], now: float) -> bool:
        """Whether the same has lain there for `settle_seconds`; `now` is a clock that never goes back, in seconds."""
        if self.since is None or found != self.seen:
            self.seen, self.since = dict(found), now
        return bool(found) and now - self.since >= self.settle_seconds


def _listed(pattern: str, folder: Path, done_file: str | None) -> dict[str, str]:
    from fsspec.core import url_to_fs

    place = pattern if "://" in pattern else str(folder / Path(pattern).expanduser())
    try:
        system, path = url_to_fs(place, use_listings_cache=False)
        listed: Mapping[str, Mapping[str, Any]] = system.glob(path, detail=True)
        complete = {name for name in {_parent(each) for each in listed} if _is_done(system, name, done_file)}
    except Exception as error:  # each store's driver has errors of its own
        said = str(error).strip().split("\n")[0][:MOST_SAID] or type(error).__name__
        raise DataError(
            f"triggers.watch: {without_passwords(pattern)} cannot be looked at: {without_passwords(said)}",
            "correct it; a store needs its driver (for s3:// install rebert[s3]), its address and keys.",
        ) from error
    return {
        name: f"{facts.get('size')} {_stamp(facts)}"
        for name, facts in listed.items()
        if facts.get("type") == "file" and facts.get("size") and _counts(name, done_file) and _parent(name) in complete
    }


def _is_done(system: Any, folder: str, done_file: str | None) -> bool:
    return done_file is None or bool(system.exists(f"{folder}/{done_file}"))


def _counts(path: str, done_file: str | None) -> bool:
    name = PurePosixPath(path).name
    return not name.startswith((".", "_", "~")) and not name.endswith(UNFINISHED) and name != done_file


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _stamp(facts: Mapping[str, Any]) -> str:
    return next((str(facts[name]) for name in TIMES if facts.get(name)), "")
