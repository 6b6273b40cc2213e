"""The end of a process that we started: by itself, when asked to, or made to."""

from __future__ import annotations

import subprocess

GRACE_SECONDS = 10.0  # between asking a process to end and ending it


def end_process(process: subprocess.Popen[bytes], *, patience: float = 0, grace: float | None = None) -> None:
    """Wait for a process to end, `patience` seconds by itself, then `grace` seconds after it was asked to; kill it."""
    if not _ended(process, patience):
        process.terminate()
    if not _ended(process, GRACE_SECONDS if grace is None else grace):
        process.kill()
    process.wait()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
