"""Threads that give way to others."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.priority import NICENESS, with_threads_that_give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_calling_thread_keeps_its_priority_and_those_that_were_started_give_way() -> None:
    before = niceness()
    pools = with_threads_that_give_way(started_pool, [1, 2])
    for pool in pools:
        with pool:
            assert pool.submit(niceness).result() == NICENESS
    assert niceness() == before


def started_pool(threads: int) -> ThreadPoolExecutor:
    """A pool whose threads are there already."""
    pool = ThreadPoolExecutor(threads)
    pool.submit(niceness).result()
    return pool
