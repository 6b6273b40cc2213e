"""Files that only their owner may read, from the moment they are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def open_private(path: Path, mode: str) -> BinaryIO:
    """Open a file, unbuffered; where it is made, for its owner only. `mode` is one of the binary ones."""
    return open(path, mode, buffering=0, opener=_open)  # type: ignore[return-value]


def _open(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
