"""A process between a supervisor and a program: when the supervisor is gone, all that the program started ends.

The supervisor holds the other end of the standard input; the system closes it when the supervisor dies, also by
`kill -9`. The program's output goes into a log file that is kept small. Where the leash itself is killed, the system
kills the program (Linux), and the supervisor the rest.

    python -m components.supervision.leash OPTIONS-AS-JSON COMMAND…

On the standard output: one line of JSON, `{"pid": …}` when the program runs and `{"ended": CODE}` when it has ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from logging.handlers import RotatingFileHandler
from typing import IO, Any

import psutil

LOG_BYTES = 5_000_000  # then a new file is begun
OLD_LOGS = 2
KILLED_SECONDS = 5.0  # for the system to end what was killed
POLL_SECONDS = 0.2
# Of Linux' prctl.
SIGNAL_ON_PARENTS_DEATH = 1
ADOPT_ORPHANS = 36


def main(options: dict[str, Any], command: list[str]) -> int:
    """Run a command on the leash until it ends or nobody holds the other end.

    Args:
        options: `log` (path), `grace` (seconds between asking to end and ending), `orphans` (whether what the program
            started may go on without it).
        command: the program and its arguments.

    Returns:
        The program's exit code.
    """
    let_go = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: let_go.set())
    _prctl(ADOPT_ORPHANS, 1)  # what loses its parent becomes our child, so that we find it
    program = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_leash,  # nothing here has started a thread yet
    )
    _tell({"pid": program.pid})
    threading.Thread(target=_write_log, args=(program.stdout, options["log"]), daemon=True).start()
    threading.Thread(target=_wait_for_release, args=(let_go,), daemon=True).start()
    return _watch(program, let_go, float(options["grace"]), bool(options["orphans"]))


def _watch(program: subprocess.Popen[bytes], let_go: threading.Event, grace: float, orphans: bool) -> int:
    while program.poll() is None and not let_go.wait(POLL_SECONDS):
        pass
    code = program.poll()
    if code is not None:
        _tell({"ended": code})
    while code is not None and orphans and _descendants() and not let_go.wait(POLL_SECONDS):
        pass
    if let_go.is_set():
        _ask_to_end(program, grace)
    _kill_all()
    return program.wait()


def _ask_to_end(program: subprocess.Popen[bytes], grace: float) -> None:
    """Ask the program and what it started itself; a worker would else wait for the end of its runs."""
    mine = psutil.Process()
    asked = [child for first in mine.children() for child in (first, *_children(first))]
    for process in asked:
        with suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace
    while _descendants() and time.monotonic() < deadline:
        program.poll()
        time.sleep(POLL_SECONDS)


def _kill_all() -> None:
    deadline = time.monotonic() + KILLED_SECONDS
    while (found := _descendants()) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=POLL_SECONDS)


def _descendants() -> list[psutil.Process]:
    """All that runs below this process; what has ended is only waiting to be counted."""
    found = _children(psutil.Process(), recursive=True)
    alive = []
    for process in found:
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    try:
        return process.children(recursive=recursive)
    except psutil.Error:
        return []


def _wait_for_release(let_go: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    let_go.set()


def _write_log(output: IO[bytes], path: str) -> None:
    """Copy a program's output, line by line, into a file that is begun anew when it is large."""
    import logging

    logging.raiseExceptions = False  # a full disk must not end the program
    with closing(RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")) as handler:
        for line in output:
            text = line.decode("utf-8", "replace").rstrip("\n")
            handler.emit(logging.LogRecord("", logging.INFO, "", 0, "%s", (text,), None))


def _tell(content: dict[str, int]) -> None:
    with suppress(OSError):  # nobody listens any more
        os.write(1, json.dumps(content).encode() + b"\n")


def _die_with_leash() -> None:
    _prctl(SIGNAL_ON_PARENTS_DEATH, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]) & 0xFF)
