"""Which rows are worth a label: how uncertain the model is, how novel a text is to it, how different rows are.

Vectors are of length one, so that distances are cosine distances. Plain numpy: a k-d tree gains nothing in hundreds of
dimensions, and approximate search is one more library for what takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]
NEIGHBOUR = 5  # whose distance says how near the training rows are; the first alone would be one odd row's
MOST_SAMPLED = 2000  # training rows whose own distances are the yardstick
BLOCK = 1024
MOST_CONSIDERED = 50_000  # rows among which the different ones are looked for
SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row of the queue: its position in the pool, and its cosine distance to the nearest row chosen before it."""

    row: int
    distance: float


def novelty(pool: Vectors, train: Vectors) -> Numbers:
    """How novel each row of the pool is: the share of training rows that are nearer to the others of them than it is.

    The distance is that to the fifth nearest training row; of a training row, itself does not count.

    Source: Sun, Ming, Zhu and Li, Out-of-distribution detection with deep nearest neighbors, ICML 2022.
    """
    if len(train) <= NEIGHBOUR:
        return np.ones(len(pool))
    sample = np.random.default_rng(SEED).permutation(len(train))[:MOST_SAMPLED]
    usual = np.sort(_distances(train[sample], train, NEIGHBOUR + 1))
    found: Numbers = np.searchsorted(usual, _distances(pool, train, NEIGHBOUR), side="left") / len(usual)
    return found


def entropy(scores: Mapping[str, float]) -> float | None:
    """Entropy of an answer's scores as a share of the largest possible; None where there are no scores.

    Scores that sum to one are one distribution; others are labels of their own, whose mean counts.
    """
    values = np.clip(np.array(list(scores.values()), np.float64), 1e-12, 1.0)
    if len(values) < 2:
        return None
    if abs(values.sum() - 1) < 1e-3:
        return float(-(values * np.log(values)).sum() / np.log(len(values)))
    others = np.clip(1 - values, 1e-12, 1.0)
    return float(-(values * np.log(values) + others * np.log(others)).mean() / np.log(2))


def choose(vectors: Vectors, useful: Numbers, rows: int) -> list[Chosen]:
    """The most useful rows that are not like each other, the first the most useful.

    Greedy: each time the row with the largest product of its usefulness and its distance to the nearest row chosen
    before. Where all rows are equally useful this is the k-centre method.

    Source: Sener and Savarese, Active learning for convolutional neural networks: a core-set approach, ICLR 2018.
    """
    considered = np.argsort(-useful, kind="stable")[:MOST_CONSIDERED]
    left = vectors[considered]
    weight = np.maximum(useful[considered], 1e-9)
    nearest = np.full(len(considered), 2.0)  # the largest cosine distance: nothing has been chosen yet
    chosen: list[Chosen] = []
    for _ in range(min(rows, len(considered))):
        best = int(np.argmax(weight * nearest))
        chosen.append(Chosen(int(considered[best]), float(nearest[best])))
        nearest = np.minimum(nearest, np.maximum(1 - left @ left[best], 0.0))
        nearest[best] = 0.0
        weight[best] = -1.0  # the copy of another row may have distance 0, a chosen one comes never again
        nearest[weight < 0] = np.inf
    return chosen


def share_of_uncertain(margins: Sequence[float]) -> Numbers:
    """How uncertain answers are, from their margins: 1 where two are equally likely, 0 where nothing else is."""
    return 1 - np.clip(np.array(margins, np.float64), 0.0, 1.0)


def _distances(rows: Vectors, others: Vectors, neighbour: int) -> Numbers:
    """Cosine distance of each row to its so-and-so-nearest of the others, block by block."""
    found = [
        1 - np.partition(rows[start : start + BLOCK] @ others.T, -neighbour, axis=1)[:, -neighbour]
        for start in range(0, len(rows), BLOCK)
    ]
    return np.concatenate(found).astype(np.float64) if found else np.zeros(0)
