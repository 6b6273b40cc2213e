"""Checkpoints that are whole or not there: a marker, written last, names every file with its size and digest.

The HF Trainer writes into its checkpoint folders in place and takes the one with the highest number, so that a process
killed while it saves leaves a folder that it cannot resume from. Here a folder counts only when its marker fits.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from components.digests import canonical, digest_file

MARKER = "whole.json"
PREFIX = "checkpoint-"
KEPT = 2  # a second one, in case the disk damages the last

log = logging.getLogger("rebert.training")


def commit_checkpoint(folder: Path) -> None:
    """Mark a checkpoint as whole, after its bytes have reached the disk."""
    files = {}
    for path in sorted(_files(folder)):
        _sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest_file(path)}
    draft = folder / f"{MARKER}.new"
    draft.write_text(canonical(files), encoding="utf-8")
    _sync(draft)
    draft.replace(folder / MARKER)
    _sync(folder)


def find_whole_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint in `folder` that is whole; each one passed over is logged with the reason."""
    for checkpoint in _by_step(folder):
        reason = whats_wrong(checkpoint)
        if reason is None:
            return checkpoint
        log.warning("passed over %s: %s", checkpoint.name, reason)
    return None


def whats_wrong(checkpoint: Path) -> str | None:
    """Why a checkpoint is not whole, or None when it is."""
    try:
        files = json.loads((checkpoint / MARKER).read_bytes())
        wanted = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        return "it was not finished, its marker is missing"
    except (ValueError, TypeError, KeyError, AttributeError):
        return "its marker is damaged"
    for name, (size, digest) in wanted.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if digest_file(path) != digest:
            return f"the content of {name} has changed"
    return None


def remove_old_checkpoints(folder: Path, keep: int = KEPT) -> None:
    """Remove all but the latest marked checkpoints, and what was left unfinished before them."""
    marked = [path for path in _by_step(folder) if (path / MARKER).is_file()]
    kept = set(marked[:keep])
    for path in _by_step(folder):
        if path not in kept:
            (path / MARKER).unlink(missing_ok=True)  # first, so that a half-removed one does not count
            shutil.rmtree(path)


def _by_step(folder: Path) -> list[Path]:
    """Checkpoint folders, the latest first."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.is_dir() and path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: -int(path.name[len(PREFIX) :]))


def _files(checkpoint: Path) -> Iterator[Path]:
    return (path for path in checkpoint.iterdir() if path.is_file() and not path.name.startswith(MARKER))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
