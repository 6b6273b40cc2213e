"""Near-duplicates between two sets of texts: MinHash with locality-sensitive hashing, then exact Jaccard similarity.

Character n-grams, three letters or two characters of a script without spaces, need no word boundaries. None of our
dependencies offers this: scikit-learn dropped its LSHForest, and `datasets` finds no duplicates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Grams = NDArray[np.uint32]  # (rows, places); places past a text's end repeat its first n-gram

BLOCK_GRAMS = 1 << 16  # 256 KiB of n-grams: a block stays in a core's cache through all hash functions
RECALL = 0.985  # share of the pairs exactly at the threshold that become candidates
MOST_FUNCTIONS = 64
BUCKET_CANDIDATES = 8  # looked at per row and band; more only in buckets of boilerplate
ALIKE_LENGTH = 0.6  # shorter by more, texts are not the same: "ha" and "hahahaha" have equal sets of n-grams
BIT_WORDS = 4
PAIR_GRAMS = 6  # n-grams across the border of a pair, which belong to neither text
SEED = 20_240_229


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Rows of `left` that have a near-duplicate in `right`, one partner each: positions and Jaccard similarity."""

    left: Integers
    right: Integers
    similarity: NDArray[np.float64]


def find_near_duplicates(left: Sequence[Any], right: Sequence[Any], similarity: float) -> NearDuplicates:
    """Every row of `left` that is nearly the same as some row of `right`.

    Args:
        left: columns of texts as Arrow arrays, one for single texts, two for pairs; every column must be similar.
        right: the same columns of the other rows.
        similarity: Jaccard similarity from which two texts are the same, 0.5 to 1.
    """
    partner = np.full(len(left[0]), -1, np.int64)
    score = np.zeros(len(left[0]))
    if len(left[0]) and len(right[0]):
        bands, rows = _bands(similarity)
        ours_sketch, theirs_sketch = (_sketch(_joined(side), bands, rows) for side in (left, right))
        for band in range(bands):
            ours, theirs = _candidates(ours_sketch.keys[band], theirs_sketch.keys[band], partner < 0)
            possible = _can_be_alike(ours_sketch, theirs_sketch, ours, theirs, similarity)
            ours, theirs = ours[possible], theirs[possible]
            alike = np.minimum.reduce([jaccard(a, b, ours, theirs) for a, b in zip(left, right, strict=True)])
            close = np.flatnonzero(alike >= similarity)
            close = close[np.argsort(alike[close], kind="stable")]  # the most similar is written last
            partner[ours[close]] = theirs[close]
            score[ours[close]] = alike[close]
    found = np.flatnonzero(partner >= 0)
    return NearDuplicates(found, partner[found], score[found])


def jaccard(left: Any, right: Any, ours: Integers, theirs: Integers) -> NDArray[np.float64]:
    """Jaccard similarity of the n-gram sets of `left[ours]` and `right[theirs]`, pair by pair.

    Texts of very different length count as 0.
    """
    ours_long, theirs_long = _lengths(left)[ours], _lengths(right)[theirs]
    result = np.zeros(len(ours))

    def fill(pairs: Integers) -> None:
        a, a_count = _grams(left.take(pa.array(ours[pairs])))
        b, b_count = _grams(right.take(pa.array(theirs[pairs])))
        # The side in the lowest bit: after sorting, equal n-grams of both sides are neighbours.
        both = np.sort(np.concatenate([a.astype(np.uint64) << 1, b.astype(np.uint64) << 1 | 1], axis=1), axis=1)
        members = 1 + (both[:, 1:] != both[:, :-1]).sum(axis=1)
        union = 1 + (both[:, 1:] >> 1 != both[:, :-1] >> 1).sum(axis=1)
        comparable = np.minimum(a_count, b_count) >= ALIKE_LENGTH * np.maximum(a_count, b_count)
        result[pairs] = np.where(comparable, (members - union) / union, 0.0)

    _in_blocks(fill, np.maximum(ours_long, theirs_long))
    return result


def _bands(similarity: float) -> tuple[int, int]:
    """Bands and rows a band: the longest band that finds a pair at the threshold with probability RECALL.

    Five rows are enough, as what they let through is ruled out cheaply by its bits.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4: 1 - (1 - s^r)^b.
    """
    for rows in range(5, 0, -1):
        chance = min(similarity**rows, 0.99)
        bands = math.ceil(math.log(1 - RECALL) / math.log(1 - chance))
        if bands * rows <= MOST_FUNCTIONS:
            return bands, rows
    return MOST_FUNCTIONS, 1


def _joined(columns: Sequence[Any]) -> Any:
    import pyarrow.compute as pc

    return (
        columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, pa.scalar("\x1f", pa.large_string()))
    )


@dataclass(frozen=True, slots=True)
class _Sketch:
    """Of each text: a key a band, (bands, texts), its n-grams as bits, (words, texts), and their number."""

    keys: Grams
    bits: NDArray[np.uint64]
    grams: Integers


def _sketch(texts: Any, bands: int, rows: int) -> _Sketch:
    """Equal keys of one band make two texts candidates."""
    sketch = _Sketch(
        np.empty((bands, len(texts)), np.uint32),
        np.zeros((BIT_WORDS, len(texts)), np.uint64),
        np.empty(len(texts), np.int64),
    )
    random = np.random.default_rng(SEED)
    masks = random.integers(1, 2**32, (bands, rows), dtype=np.uint32)
    factors = random.integers(1, 2**32, (bands, rows), dtype=np.uint32) | np.uint32(1)

    def fill(block: Integers) -> None:
        grams, sketch.grams[block] = _grams(texts.take(pa.array(block)))
        sketch.keys[:, block] = _block_keys(grams, masks, factors)
        bit = np.left_shift(np.uint64(1), (grams & np.uint32(63)).astype(np.uint64))
        word = (grams >> np.uint32(6)) % np.uint32(BIT_WORDS)
        for place in range(BIT_WORDS):
            sketch.bits[place, block] = np.bitwise_or.reduce(np.where(word == place, bit, np.uint64(0)), axis=1)

    _in_blocks(fill, _lengths(texts))
    return sketch


def _can_be_alike(
    left: _Sketch, right: _Sketch, ours: Integers, theirs: Integers, similarity: float
) -> NDArray[np.bool_]:
    """False for pairs whose bits differ in more places than n-grams may: cheap, and never wrong.

    Source: Sandes, Teodoro, Melo, Bitmap filter: speeding up exact set similarity joins, 2018.
    """
    differing = np.bitwise_count(left.bits[:, ours] ^ right.bits[:, theirs]).sum(axis=0, dtype=np.int64)
    most = (1 - similarity) / (1 + similarity) * (left.grams[ours] + right.grams[theirs])
    return np.asarray(differing <= most + PAIR_GRAMS)


def _block_keys(grams: Grams, masks: Grams, factors: Grams) -> Grams:
    # The axis that is reduced must be the long one in memory for long texts, the outer one for short texts.
    places = 0 if grams.shape[1] < 512 else 1
    values = np.ascontiguousarray(grams.T) if places == 0 else grams
    hashed = np.empty_like(values)
    keys = np.zeros((len(masks), len(grams)), np.uint32)
    for band, key in enumerate(keys):
        for mask, factor in zip(masks[band], factors[band], strict=True):
            np.bitwise_xor(values, mask, out=hashed)
            np.multiply(hashed, factor, out=hashed)
            key *= np.uint32(0x9E3779B1)
            key ^= hashed.min(axis=places)
            key ^= key >> np.uint32(15)
    return keys


def _candidates(left: Grams, right: Grams, wanted: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Pairs of positions with equal keys, at most BUCKET_CANDIDATES spread over each bucket."""
    ours = np.flatnonzero(wanted)
    ours = ours[np.argsort(left[ours])]  # searching for sorted keys is several times faster
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    first = np.searchsorted(ordered, left[ours], "left")
    size = np.searchsorted(ordered, left[ours], "right") - first
    found = np.flatnonzero(size)
    ours, first, size = ours[found], first[found], size[found]
    taken = np.minimum(size, BUCKET_CANDIDATES)
    nth = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    place = np.repeat(first, taken) + nth * np.repeat(size, taken) // np.repeat(taken, taken)
    return np.repeat(ours, taken), order[place]


def _lengths(texts: Any) -> Integers:
    import pyarrow.compute as pc

    lengths: Integers = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _in_blocks(work: Callable[[Integers], None], lengths: Integers) -> None:
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # numpy works outside the interpreter's lock
        list(pool.map(work, _blocks(lengths)))


def _blocks(lengths: Integers) -> Iterator[Integers]:
    """Positions in blocks of texts of like length, so that padding costs little."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The last text of a block is its longest: guess by the first, and shrink where that was too short.
        count = max(1, BLOCK_GRAMS // max(1, int(lengths[order[start]])))
        longest = int(lengths[order[min(start + count, len(order)) - 1]])
        end = start + max(1, min(count, BLOCK_GRAMS // max(1, longest)))
        yield order[start:end]
        start = end


def _grams(texts: Any) -> tuple[Grams, Integers]:
    """Hashes of the n-grams of each text, and how many it has with repetitions."""
    words = texts.to_pylist()
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    letters = np.zeros((len(words), max(1, int(lengths.max())) + 2), np.uint32)  # a text may be empty
    letters[np.arange(letters.shape[1]) < lengths[:, None]] = np.frombuffer("".join(words).encode("utf-32-le"), "<u4")
    first, second, third = letters[:, :-2], letters[:, 1:-1], letters[:, 2:]
    unspaced = (first >= 0x2E80) & (first < 0xAC00) | (first >= 0x20000)
    hashed = _mix(first * np.uint32(0x85EBCA6B) ^ _mix(second * np.uint32(0xC2B2AE35)))
    hashed ^= np.where(unspaced, np.uint32(0), _mix(third * np.uint32(0x27D4EB2F) + np.uint32(1)))
    whole = np.where(unspaced, second, third) > 0
    whole[:, 0] = True  # a text shorter than an n-gram is its own n-gram
    return np.where(whole, hashed, hashed[:, :1]), whole.sum(axis=1)


def _mix(values: Grams) -> Grams:
    """Spread the bits. Source: the finaliser of MurmurHash3 (public domain, Austin Appleby), first half."""
    mixed = values ^ (values >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    return mixed
