"""What a CRF says of whole texts, in NumPy: the best sequence of tags, the probability of each tag, the likelihood.

Texts of similar length go through together, in float64; each gets the same numbers in any company.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
TagNumbers = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]  # of one text (units, tags)
BATCH_UNITS = 1 << 15  # padded units of texts that are decoded together
SMALLEST = 1e-300  # what a probability that underflows counts as, so that its logarithm is a number


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts of falling length: `scores` (texts, units, tags), and how many texts have a unit at each position."""

    places: list[int]
    scores: Numbers
    lengths: TagNumbers
    reaching: list[int]


def _batches(scores: Sequence[Scores]) -> Iterator[_Batch]:
    order = sorted((place for place, own in enumerate(scores) if len(own)), key=lambda place: -len(scores[place]))
    start = 0
    while start < len(order):
        longest, tags = scores[order[start]].shape
        places = order[start : start + max(1, BATCH_UNITS // longest)]
        lengths = np.array([len(scores[place]) for place in places])
        padded = np.zeros((len(places), longest, tags))
        for line, place in enumerate(places):
            padded[line, : lengths[line]] = scores[place]
        reaching = [int((lengths > unit).sum()) for unit in range(longest)]
        yield _Batch(places, padded, lengths, reaching)
        start += len(places)


def best_tags(scores: Sequence[Scores], moves: Numbers) -> list[TagNumbers]:
    """The sequence of tags with the highest score of each text, by Viterbi's algorithm.

    Args:
        scores: of each text (units, tags).
        moves: as `crf.Crf` has them (tags + 2, tags).
    """
    found: list[TagNumbers] = [np.empty(0, np.int64)] * len(scores)
    for batch in _batches(scores):
        for line, (place, tags) in enumerate(zip(batch.places, _viterbi(batch, moves), strict=True)):
            found[place] = tags[: batch.lengths[line]]
    return found


def _viterbi(batch: _Batch, moves: Numbers) -> TagNumbers:
    between = moves[:-2]
    texts, longest, tags = batch.scores.shape
    total = moves[-2] + batch.scores[:, 0]
    came_from = np.zeros((texts, longest, tags), np.int16)
    for unit in range(1, longest):
        n = batch.reaching[unit]
        ways = total[:n, :, None] + between  # (texts, from, to)
        came_from[:n, unit] = ways.argmax(axis=1)
        total[:n] = ways.max(axis=1) + batch.scores[:n, unit]
    best = np.zeros((texts, longest), np.int64)
    lines = np.arange(texts)
    best[lines, batch.lengths - 1] = (total + moves[-1]).argmax(axis=1)
    for unit in range(longest - 1, 0, -1):
        n = batch.reaching[unit]
        best[:n, unit - 1] = came_from[lines[:n], unit, best[:n, unit]]
    return best


def tag_probabilities(scores: Sequence[Scores], moves: Numbers) -> list[Numbers]:
    """The marginal probability of each tag of each unit of each text (units, tags), by forward and backward passes."""
    found: list[Numbers] = [np.empty((0, moves.shape[1]))] * len(scores)
    for batch in _batches(scores):
        forward, backward = _forward(batch, moves), _backward(batch, moves)
        for line, place in enumerate(batch.places):
            joint = forward[line, : batch.lengths[line]] + backward[line, : batch.lengths[line]]
            joint = np.exp(joint - joint.max(axis=1, keepdims=True))
            found[place] = joint / joint.sum(axis=1, keepdims=True)
    return found


def log_likelihood(scores: Sequence[Scores], tags: Sequence[TagNumbers], moves: Numbers) -> float:
    """Sum over all texts of the log-probability of their tags."""
    between, total = moves[:-2], 0.0
    for batch in _batches(scores):
        forward = _forward(batch, moves)
        for line, place in enumerate(batch.places):
            own, last = tags[place], batch.lengths[line] - 1
            total += float(batch.scores[line, np.arange(last + 1), own].sum() + between[own[:-1], own[1:]].sum())
            total += float(moves[-2, own[0]] + moves[-1, own[-1]])
            total -= float(np.logaddexp.reduce(forward[line, last] + moves[-1]))
    return total


def _forward(batch: _Batch, moves: Numbers) -> Numbers:
    """Log of the summed scores of all ways to each tag (texts, units, tags)."""
    ways = np.exp(moves[:-2])
    total = batch.scores.copy()
    total[:, 0] += moves[-2]
    for unit in range(1, batch.scores.shape[1]):
        n = batch.reaching[unit]
        total[:n, unit] += _log_product(total[:n, unit - 1], ways)
    return total


def _backward(batch: _Batch, moves: Numbers) -> Numbers:
    """Log of the summed scores of all ways from each tag to the end (texts, units, tags)."""
    ways = np.exp(moves[:-2]).T
    total = np.zeros_like(batch.scores)
    total[np.arange(len(total)), batch.lengths - 1] = moves[-1]
    for unit in range(batch.scores.shape[1] - 1, 0, -1):
        n = batch.reaching[unit]
        total[:n, unit - 1] = _log_product(total[:n, unit] + batch.scores[:n, unit], ways)
    return total


def _log_product(logs: Numbers, ways: Numbers) -> Numbers:
    """log(exp(logs) @ ways) without overflow."""
    highest = logs.max(axis=1, keepdims=True)
    product: Numbers = np.log(np.maximum(np.exp(logs - highest) @ ways, SMALLEST)) + highest
    return product
