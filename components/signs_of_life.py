"""Signs of life: which process is at a piece of work, and whether it still is."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname

import psutil

STARTED = 19  # place of its start among what stands after the name of a process in /proc/PID/stat
STALE_AFTER = timedelta(minutes=10)  # of another machine, whose processes we cannot see


def sign_of_life() -> str:
    """Host, process and time. A process is named by its number and its start, since numbers come again."""
    return f"{gethostname()} {os.getpid()} {_start_of(os.getpid())} {datetime.now(UTC).isoformat(timespec='seconds')}"


def is_dead(sign: str, stale_after: timedelta = STALE_AFTER) -> bool:
    """Whether the process that gave a sign is gone; one on another machine is when it was silent for so long."""
    host, process, start, last = sign.rsplit(" ", 3)
    if host != gethostname():
        return datetime.now(UTC) - datetime.fromisoformat(last) > stale_after
    try:
        return _start_of(int(process)) != start or psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def who(sign: str) -> str:
    """The process of a sign in words."""
    host, process, _, _ = sign.rsplit(" ", 3)
    return f"process {process}" + ("" if host == gethostname() else f" on {host}")


def _start_of(process: int) -> str:
    """When a process began: on Linux in ticks since the machine did, which do not move when its clock is set."""
    stat = Path(f"/proc/{process}/stat")
    if not stat.parent.parent.joinpath("self").exists():
        return f"{psutil.Process(process).create_time():.2f}"
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[STARTED]
    except FileNotFoundError as error:
        raise psutil.NoSuchProcess(process) from error
