"""Paired tests and bootstrap intervals for two models on the same rows: numbers in, numbers out.

SciPy has the exact tests; the bootstrap of F1 is ours because it resamples counts of (truth, answer) pairs in whole
arrays: a thousand resamplings through scikit-learn's f1_score would take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest, norm

Counts = NDArray[np.float64]  # (resamplings, classes)
Codes = NDArray[np.int64]  # (rows,) class numbers
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
    return float(binomtest(only_candidate, differing, 0.5, alternative="greater").pvalue)


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
    return float(norm.sf((wins - losses - rows * difference) / sqrt(variance)))


def bootstrap_scores(
    metric: str, truth: Codes, answers: list[Codes], classes: int, samples: int, seed: int
) -> NDArray[np.float64]:
    """The metric of each model on resampled rows, the same resamplings for all models.

    Args:
        metric: accuracy, macro_f1, micro_f1, weighted_f1 or mcc.
        truth: true class of each row; may be `classes - 1`, a class that no model knows.
        answers: each model's class for each row.
        classes: number of classes.

    Returns:
        Array (models, samples).
    """
    score = METRICS[metric]
    result = np.empty((len(answers), samples))
    for start, weights in _resamplings(len(truth), samples, seed):
        for model, answer in enumerate(answers):
            right, truths, answered = _counts(weights, truth, answer, classes)
            result[model, start : start + len(weights)] = score(right, truths, answered)
    return result


def interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Percentile interval of bootstrap values."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _resamplings(rows: int, samples: int, seed: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """How often each row is drawn, (chunk, rows), with the number of each chunk's first resampling."""
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // max(rows, 1))
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        drawn = generator.integers(0, rows, size=(size, rows))
        flat = (drawn + np.arange(size)[:, None] * rows).ravel()
        yield start, np.bincount(flat, minlength=size * rows).reshape(size, rows).astype(np.float64)


def _counts(weights: NDArray[np.float64], truth: Codes, answer: Codes, classes: int) -> tuple[Counts, Counts, Counts]:
    """Rows answered rightly, rows of the class and rows answered as the class: each (resamplings, classes)."""
    right = truth == answer
    return (
        weights[:, right] @ _indicator(truth[right], classes),
        weights @ _indicator(truth, classes),
        weights @ _indicator(answer, classes),
    )


def _indicator(codes: Codes, classes: int) -> csr_array:
    """One row a code with a single one: (rows, classes)."""
    rows = np.arange(len(codes))
    return csr_array((np.ones(len(codes)), (rows, codes)), shape=(len(codes), classes))


def _accuracy(right: Counts, truths: Counts, _answered: Counts) -> NDArray[np.float64]:
    share: NDArray[np.float64] = right.sum(axis=1) / truths.sum(axis=1)
    return share


def _f1(right: Counts, truths: Counts, answered: Counts) -> Counts:
    total = truths + answered
    return np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)


def _macro_f1(right: Counts, truths: Counts, answered: Counts) -> NDArray[np.float64]:
    occurring = (truths + answered) > 0  # scikit-learn averages over the classes that occur
    mean: NDArray[np.float64] = _f1(right, truths, answered).sum(axis=1) / occurring.sum(axis=1)
    return mean


def _weighted_f1(right: Counts, truths: Counts, answered: Counts) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = (_f1(right, truths, answered) * truths).sum(axis=1) / truths.sum(axis=1)
    return mean


def _mcc(right: Counts, truths: Counts, answered: Counts) -> NDArray[np.float64]:
    """Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004."""
    rows = truths.sum(axis=1)
    joint = right.sum(axis=1) * rows - (truths * answered).sum(axis=1)
    spread = (rows**2 - (truths**2).sum(axis=1)) * (rows**2 - (answered**2).sum(axis=1))
    value: NDArray[np.float64] = np.divide(joint, np.sqrt(spread), out=np.zeros_like(joint), where=spread > 0)
    return value


METRICS: dict[str, Callable[[Counts, Counts, Counts], NDArray[np.float64]]] = {
    "accuracy": _accuracy,
    "micro_f1": _accuracy,  # one label a row: the two are the same
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "mcc": _mcc,
}
