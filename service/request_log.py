"""The request log: a line of JSON for each request, private unless its operator wants otherwise.

A text is written as its length and a keyed hash: the same text gets the same hash in one log, and nobody without the
key, which lies beside the log, can try out what it may have been. Only where `serving.log_texts` is above zero are that
share of the requests written with texts and answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import random
import threading
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from service.entry import Entry
from service.private_files import open_private

BYTES_OF_A_FILE = 20 << 20
OLD_FILES = 5
MOST_WAITING = 10_000  # lines; a disk that is slower loses some, and stops nobody
HASH_BYTES = 8

log = logging.getLogger(__name__)


class RequestLog:
    """Writes in a thread of its own.

    Args:
        path: the file; None where nothing shall be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: queue.Queue[tuple[dict[str, Any], Entry, bool] | None] = queue.Queue(MOST_WAITING)
        self.lost = 0
        self.thread = threading.Thread(target=self._work, name="requests", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        if self.path is not None:
            self.thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        if self.thread.is_alive():
            self.lines.put(None)
            self.thread.join()

    def note(self, page: str, status: int, seconds: float, entry: Entry, text_share: float) -> None:
        """Have a request written."""
        if self.path is None:
            return
        facts = {"time": _now(), "request": entry.id, "client": entry.client, "page": page, "status": status}
        facts["ms"] = round(seconds * 1000, 2)
        sampled = text_share > 0 and random.random() < text_share  # noqa: S311 - no secret
        try:
            self.lines.put_nowait((facts, entry, sampled))
        except queue.Full:
            self.lost += 1

    def _work(self) -> None:
        try:
            path = Path(str(self.path))
            path.parent.mkdir(parents=True, exist_ok=True)
            salt = read_salt(path.with_suffix(".salt"))
            file = QuietFile(path, maxBytes=BYTES_OF_A_FILE, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        except OSError as error:
            log.error("There is no request log: %s.", error.strerror)  # noqa: TRY400
            return
        with file:
            while (item := self.lines.get()) is not None:
                line = json.dumps(content_of(*item, salt), ensure_ascii=False)
                file.emit(logging.makeLogRecord({"msg": line}))


class QuietFile(RotatingFileHandler):
    """A file that rotates, readable by its owner only. What cannot be written is not printed elsewhere instead."""

    def __enter__(self) -> QuietFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        stream = super()._open()
        os.chmod(self.baseFilename, 0o600)  # noqa: PTH101 - the name is a str here
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """A full disk: the line is lost."""


def content_of(facts: dict[str, Any], entry: Entry, sampled: bool, salt: bytes) -> dict[str, Any]:
    """The line of a request."""
    texts = [[value for value in row.values() if isinstance(value, str)] for row in entry.rows]
    rows = [{"characters": sum(map(len, own)), "hash": _hash(own, salt)} for own in texts]
    line = {**facts, "version": entry.version, "rows": rows}
    if sampled:
        line |= {"texts": [dict(row) for row in entry.rows], "predictions": list(entry.predictions)}
    return line


def read_salt(path: Path) -> bytes:
    """The key of the hashes in a log; made where it is missing."""
    try:
        with open_private(path, "xb") as file:
            file.write(os.urandom(32))
    except FileExistsError:
        pass
    return path.read_bytes()[:64]


def _hash(texts: list[str], salt: bytes) -> str:
    content = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, key=salt, digest_size=HASH_BYTES).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
