"""Signs of life: which process is at a piece of work, and whether it still is."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from socket import gethostname

import psutil

STALE_AFTER = timedelta(minutes=10)  # of another machine, whose processes we cannot see


def sign_of_life() -> str:
    """Host, process and time. A process is named by its number and its start, since numbers come again."""
    return f"{gethostname()} {os.getpid()} {_start_of(os.getpid())} {datetime.now(UTC).isoformat(timespec='seconds')}"


def is_dead(sign: str) -> bool:
    """Whether the process that gave a sign is gone; one on another machine is when it was silent for ten minutes."""
    host, process, start, last = sign.rsplit(" ", 3)
    if host != gethostname():
        return datetime.now(UTC) - datetime.fromisoformat(last) > STALE_AFTER
    try:
        return _start_of(int(process)) != start
    except psutil.NoSuchProcess:
        return True


def _start_of(process: int) -> str:
    return f"{psutil.Process(process).create_time():.2f}"
