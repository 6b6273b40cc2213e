"""Who comes first on a busy processor: answering requests before computing them, both before training.

A thread that only hands work on needs the processor for moments, but at once. Beside computing threads of the same
priority it waits its turn each time: under overload an endpoint would refuse requests after seconds, not milliseconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Kind = TypeVar("Kind")
Made = TypeVar("Made")
NICENESS = 10  # a tenth of the share of a thread that does not give way


def give_way() -> None:
    """Let the calling thread, and those that it starts from now on, come after the others; on Linux alone."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def with_threads_that_give_way(make: Callable[[Kind], Made], kinds: Sequence[Kind]) -> list[Made]:
    """What `make` gives for each kind, made at once; all threads that it starts give way, the calling one does not."""
    with ThreadPoolExecutor(len(kinds), initializer=give_way) as others:
        return list(others.map(make, kinds))
