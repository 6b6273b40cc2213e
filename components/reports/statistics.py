"""Paired tests and bootstrap intervals for two models on the same rows: numbers in, numbers out.

SciPy has the exact tests; the bootstrap is ours because it resamples counts in whole arrays, the same for both models:
a thousand resamplings through scikit-learn's f1_score would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used: half a second that a start can do without

from components.task_types.base import Numbers, Statistic

EDGE = 1e-9  # how near a difference in accuracy comes to 1
CHUNK_CELLS = 4_000_000  # resampled rows held at a time: 32 MB


def mcnemar_exact(only_candidate: int, only_champion: int) -> float:
    """One-sided p-value of the exact McNemar test: how likely so many wins are if both models are equally good.

    Args:
        only_candidate: rows that only the candidate answers rightly.
        only_champion: rows that only the champion answers rightly.

    Source: McNemar 1947; the exact binomial form, conditional on the rows on which the two differ.
    """
    differing = only_candidate + only_champion
    if differing == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_candidate, differing, 0.5, alternative="greater").pvalue)


def tango_score_test(only_candidate: int, only_champion: int, rows: int, difference: float) -> float:
    """One-sided p-value against "the candidate's accuracy is at most `difference` above the champion's".

    Args:
        rows: all frozen rows.
        difference: the bound of the null hypothesis; negative for non-inferiority.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998).
    """
    wins, losses = only_candidate, only_champion
    linear = -wins - losses + (2 * rows - wins + losses) * difference
    constant = -losses * difference * (1 - difference)
    root = (sqrt(max(linear * linear - 8 * rows * constant, 0.0)) - linear) / (4 * rows)
    variance = rows * (2 * root + difference * (1 - difference))
    if variance <= 0:  # the two never differ: the observed difference is exact
        return 0.0 if wins - losses > rows * difference else 1.0
    return float(scipy.stats.norm.sf((wins - losses - rows * difference) / sqrt(variance)))


def tango_interval(only_candidate: int, only_champion: int, rows: int, confidence: float) -> tuple[float, float]:
    """The differences in accuracy that Tango's score test does not rule out, two-sided."""
    observed = (only_candidate - only_champion) / rows
    if only_candidate + only_champion == 0:
        # The limits' closed form: no row of n differs.
        limit = float(scipy.stats.norm.isf((1 - confidence) / 2)) ** 2
        return -limit / (rows + limit), limit / (rows + limit)
    wanted = (1 - confidence) / 2

    def above(difference: float) -> float:
        return tango_score_test(only_candidate, only_champion, rows, difference)

    low = scipy.optimize.brentq(lambda value: above(value) - wanted, -1 + EDGE, observed) if observed > -1 else -1.0
    high = scipy.optimize.brentq(lambda value: above(value) - (1 - wanted), observed, 1 - EDGE) if observed < 1 else 1.0
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, so that any below alpha is a false alarm at most alpha of the time.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    running = 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - place) * float(p_values[index])))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def bootstrap_scores(
    statistics: Sequence[Statistic], rows: int, samples: int, seed: int, documents: Sequence[Any] | None = None
) -> Numbers:
    """Each statistic on resampled rows or documents, the same resamplings for all.

    Args:
        statistics: functions of how often each row is drawn, one for each model.
        rows: number of rows.
        documents: the document of each row, whose rows are drawn together; None where rows are independent.

    Returns:
        Array (statistics, samples).
    """
    result = np.empty((len(statistics), samples))
    for start, weights in _resamplings(rows, samples, seed, documents):
        for place, statistic in enumerate(statistics):
            result[place, start : start + len(weights)] = statistic(weights)
    return result


def mean_statistic(values: Numbers) -> Statistic:
    """The mean of one number a row."""

    def mean(weights: Numbers) -> Numbers:
        result: Numbers = weights @ values / weights.sum(axis=1)
        return result

    return mean


def interval(values: Numbers, confidence: float) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def wilson(right: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share of independent rows.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    found = scipy.stats.binomtest(right, rows).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def _resamplings(
    rows: int, samples: int, seed: int, documents: Sequence[Any] | None = None
) -> Iterator[tuple[int, Numbers]]:
    """How often each row is drawn, (chunk, rows), with the number of each chunk's first resampling."""
    generator = np.random.default_rng(seed)
    of_row = np.arange(rows) if documents is None else np.unique(np.asarray(documents, str), return_inverse=True)[1]
    units = int(of_row.max(initial=-1)) + 1
    chunk = max(1, CHUNK_CELLS // max(rows, 1))
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        drawn = generator.integers(0, units, size=(size, units))
        flat = (drawn + np.arange(size)[:, None] * units).ravel()
        counts = np.bincount(flat, minlength=size * units).reshape(size, units).astype(np.float64)
        yield start, counts if documents is None else counts[:, of_row]
