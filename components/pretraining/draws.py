"""Random numbers that are a function of what they are for: of a seed and some counters, and of nothing else.

So pairs and masks do not depend on the batches, the cores or the processes in which they are drawn.
Source: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014), applied once for each counter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
BITS = 53  # of a float64's fraction


def uniform(seed: int, purpose: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1), one for each broadcast combination of the counters.

    Args:
        purpose: keeps draws for different ends apart.
        counters: integers of at least zero.
    """
    key: Any = _key(seed, purpose)
    with np.errstate(over="ignore"):
        for counter in counters:
            key = _mixed(key + (np.asarray(counter).astype(np.uint64) + np.uint64(1)) * GOLDEN)
    numbers: NDArray[np.float64] = (key >> np.uint64(64 - BITS)).astype(np.float64) * 2.0**-BITS
    return numbers


@cache
def _key(seed: int, purpose: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        first = _mixed(np.asarray(seed, np.uint64) + GOLDEN)
        return _mixed(first + np.asarray(purpose + 1, np.uint64) * GOLDEN)


def between(low: ArrayLike, high: ArrayLike, draw: ArrayLike) -> NDArray[np.int64]:
    """Integers from `low` to `high`, both included, from draws in [0, 1)."""
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    numbers: NDArray[np.int64] = low + (np.asarray(draw) * (high - low + 1)).astype(np.int64)
    return numbers


def _mixed(values: Any) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
