"""The request log: a line of JSON for each request, private unless its operator wants otherwise.

A text is written as its length, a keyed hash and what the monitor measures (`components/monitoring/measuring.py`): the
same text gets the same hash in one log, and nobody without the key, which lies beside the log, can try out by it what
it may have been. Only where `serving.log_texts` is above zero are that share of the requests written with texts and
answers. The form of a line is in docs/monitoring.md.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from components.config import Serving
from components.monitoring.measuring import Meter
from components.monitoring.request_lines import hash_texts, salt_file
from service.engine import Engine
from service.entry import Entry
from service.private_files import open_private

BYTES_OF_A_FILE = 20 << 20
OLD_FILES = 13  # a new file each day, or sooner: two weeks where it is quiet
MOST_WAITING = 10_000  # lines, and so many rows; a disk that is slower loses some, and stops nobody
# Measuring takes a tenth of what answering does, of the interpreter that answers as well: under load a part is enough.
MEASURED_A_SECOND = 50
MEASURED_AT_ONCE = 1000  # before that holds; saved up while less is asked
# What has come meanwhile is written together: a thread that wakes for each request takes a tenth of a busy endpoint.
GATHER_SECONDS = 0.1

Waiting = tuple[dict[str, Any], Entry, Serving]

log = logging.getLogger(__name__)


class RequestLog:
    """Measures and writes in a thread of its own.

    Args:
        path: the file; None where nothing shall be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.waiting: list[Waiting] = []
        self.lost = self.told = 0  # requests that were not written down, and of them those that a line tells of
        self.waiting_rows = 0
        self.fails = False  # there is no file to write into, and nothing is kept for one
        self.thread = threading.Thread(target=self._work, name="requests", daemon=True)
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def start(self) -> None:
        """Begin to write."""
        if self.path is not None:
            self.thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        if self.thread.is_alive():
            self.stopping.set()
            self.thread.join()

    def note(self, page: str, status: int, seconds: float, entry: Entry, serving: Serving) -> None:
        """Have a request written; what is found out about its rows is found out later, in the other thread."""
        if self.path is None:
            return
        facts = {"time": time.time(), "request": entry.id, "client": entry.client, "page": page, "status": status}
        facts["ms"] = round(seconds * 1000, 2)
        with self.lock:
            if self.fails or len(self.waiting) >= MOST_WAITING or self.waiting_rows > MOST_WAITING:
                self.lost += 1
            else:
                self.waiting.append((facts, entry, serving))
                self.waiting_rows += len(entry.rows)

    def _work(self) -> None:
        try:
            path = Path(str(self.path))
            path.parent.mkdir(parents=True, exist_ok=True)
            salt = read_salt(salt_file(path))
            file = QuietFile(path, maxBytes=BYTES_OF_A_FILE, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        except OSError as error:
            log.error("There is no request log: %s.", error.strerror)  # noqa: TRY400
            self._give_up()
            return
        meters, ends = Meters(), False
        with file:
            while not ends:
                ends = self.stopping.wait(GATHER_SECONDS)
                lines = [line for item in self._take() if (line := self._line(item, salt, meters))]
                if lines:
                    file.emit(logging.makeLogRecord({"msg": "\n".join(lines)}))

    def _take(self) -> list[Waiting]:
        with self.lock:
            found, self.waiting, self.waiting_rows = self.waiting, [], 0
            return found

    def _line(self, item: Waiting, salt: bytes, meters: Meters) -> str | None:
        facts, entry, serving = item
        lost, self.told = self.lost - self.told, self.lost
        try:
            content = content_of(facts | ({"lost": lost} if lost else {}), entry, serving, salt, meters)
            return json.dumps(content, ensure_ascii=False)
        except Exception as error:  # of one line; the next may be whole
            log.error("A request could not be written down: %s", type(error).__name__)  # noqa: TRY400 - no texts
            self.lost += 1
            return None

    def _give_up(self) -> None:
        self.fails = True
        self.lost += len(self._take())


class Meters:
    """What measures the answers of the version that answered last, in the long run `MEASURED_A_SECOND` of them."""

    def __init__(self) -> None:
        self.version: tuple[int, bool] | None = None
        self.meter: Meter | None = None
        self.left, self.counted = float(MEASURED_AT_ONCE), time.monotonic()

    def measured(self, entry: Entry, project: bool) -> list[dict[str, Any]]:
        """What is measured of each row; nothing where there was no answer, or where it cannot be had."""
        if entry.answered is None or not self._has_time():
            return [{} for _ in entry.rows]
        self.left -= len(entry.rows)
        try:
            meter = self._of(entry.answered.engine, project)
            return meter.measure(entry.rows, entry.answered.windows, entry.answered.answers)
        except Exception as error:  # whatever is wrong with measuring, the request was answered and is written down
            log.error("An answer could not be measured: %s", type(error).__name__)  # noqa: TRY400 - no texts
            return [{} for _ in entry.rows]

    def _has_time(self) -> bool:
        now = time.monotonic()
        self.left = min(MEASURED_AT_ONCE, self.left + (now - self.counted) * MEASURED_A_SECOND)
        self.counted = now
        return self.left > 0

    def _of(self, engine: Engine, project: bool) -> Meter:
        key = engine.release.version, project
        if self.meter is None or self.version != key:
            self.version, self.meter = key, Meter(engine.predictor, project=project)
        return self.meter


class QuietFile(RotatingFileHandler):
    """A file that rotates by size and each day (UTC), readable by its owner only.

    What cannot be written is not printed elsewhere instead.
    """

    day = ""

    def __enter__(self) -> QuietFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name that logging calls
        """Whether the line belongs into a new file."""
        today = _day(time.time())
        if not self.day:
            path = Path(self.baseFilename)
            self.day = _day(path.stat().st_mtime) if path.exists() else today
        turned, self.day = self.day != today, today
        return (turned and Path(self.baseFilename).exists()) or bool(super().shouldRollover(record))

    def _open(self) -> Any:
        stream = super()._open()
        os.chmod(self.baseFilename, 0o600)  # noqa: PTH101 - the name is a str here
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """A full disk: the line is lost."""


def content_of(facts: dict[str, Any], entry: Entry, serving: Serving, salt: bytes, meters: Meters) -> dict[str, Any]:
    """The line of a request."""
    texts = [[value for value in row.values() if isinstance(value, str)] for row in entry.rows]
    measured = meters.measured(entry, serving.log_projections)
    rows = [
        {"characters": sum(map(len, own)), "hash": hash_texts(own, salt), **found}
        for own, found in zip(texts, measured, strict=True)
    ]
    facts = {**facts, "time": _when(facts["time"])}
    line = {**facts, **({"part": entry.part} if entry.part else {}), "version": entry.version, "rows": rows}
    if serving.log_texts > 0 and random.random() < serving.log_texts:  # noqa: S311 - no secret
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


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
