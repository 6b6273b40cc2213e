"""Python's garbage collector, told what our processes are like.

A million objects come with the libraries and stay. By default it walks over all of them again and again while they are
being imported, which is a third of the start, and once more at the end, which takes seconds.
"""

from __future__ import annotations

import atexit
import gc

THRESHOLDS = (100_000, 50, 50)  # new objects before a collection, and collections before one of the next generation


def collect_rarely() -> None:
    """Call it first in a process, before anything heavy is imported."""
    gc.set_threshold(*THRESHOLDS)
    atexit.register(gc.freeze)  # what is frozen is not walked over when the interpreter ends
