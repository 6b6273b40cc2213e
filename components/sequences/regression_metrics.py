"""Scores of a model that answers with a number, on all rows and on resampled ones.

A correlation is undefined where the true or the given numbers are all equal; it then counts as 0: a constant answer
explains nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from components.task_types.base import Numbers, Statistic

ROUNDING = 1e-13  # a variance below that share of the mean square is what rounding leaves of a constant
SHARES = (0.5, 0.9, 0.95, 0.99)  # of the rows whose errors are at most a quantile


def regression_metrics(truth: Numbers, said: Numbers) -> dict[str, float]:
    """Pearson's and Spearman's correlation, root mean square error, mean absolute error and R².

    R² compares with always answering the mean of the true numbers: 1 is perfect, below 0 is worse than that. Where
    these are all equal it is 1 if every answer is exact, else 0.
    """
    everything = np.ones((1, len(truth)))
    error = said - truth
    left, spread = float((error**2).sum()), float(((truth - truth.mean()) ** 2).sum())
    constant = float(left == 0)
    return {
        **{name: float(correlation(truth, said)(everything)[0]) for name, correlation in CORRELATIONS.items()},
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - left / spread if np.ptp(truth) else constant,
    }


def error_quantiles(truth: Numbers, said: Numbers) -> list[dict[str, float]]:
    """The absolute error that so large a share of the rows does not exceed."""
    errors = np.quantile(np.abs(said - truth), SHARES)
    return [{"rows": share, "error": float(error)} for share, error in zip(SHARES, errors, strict=True)]


def pearson_statistic(truth: Numbers, said: Numbers) -> Statistic:
    """Pearson's correlation as a function of how often each row is drawn."""
    x, y = _centred(truth), _centred(said)
    sums = np.column_stack([x, y, x * x, y * y, x * y])

    def statistic(weights: Numbers) -> Numbers:
        means = weights @ sums / weights.sum(axis=1, keepdims=True)
        mean_x, mean_y, square_x, square_y, joint = means.T
        return _correlation(
            joint - mean_x * mean_y,
            _variance(square_x, mean_x),
            _variance(square_y, mean_y),
        )

    return statistic


def spearman_statistic(truth: Numbers, said: Numbers) -> Statistic:
    """Spearman's correlation as a function of how often each row is drawn: each resampling is ranked anew.

    A row that is drawn k times is k tied rows, and ties share their mean rank, as in scipy.stats.spearmanr. Sorting is
    done once: the rank of a value follows from how many rows are drawn below it.
    """
    by_truth, by_said = _ranks(truth), _ranks(said)

    def statistic(weights: Numbers) -> Numbers:
        x, variance_x = by_truth(weights)
        y, variance_y = by_said(weights)
        np.multiply(x, weights, out=x)
        return _correlation(np.einsum("ij,ij->i", x, y), variance_x, variance_y)

    return statistic


def _ranks(values: Numbers) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
    """From how often each row is drawn to each row's rank less the mean rank, and the sum of the ranks' squares."""
    order = np.argsort(values, kind="stable")
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes

    def ranks(weights: Numbers) -> tuple[Numbers, Numbers]:
        drawn = weights[:, order]
        if len(sizes) < len(values):
            drawn = np.add.reduceat(drawn, starts, axis=1)  # (resamplings, different values)
        middle = drawn.cumsum(axis=1)
        total = middle[:, -1:].copy()
        middle -= (drawn + total) / 2
        return middle[:, group], np.einsum("ij,ij,ij->i", drawn, middle, middle)

    return ranks


def _centred(values: Numbers) -> Numbers:
    """The values less their mean, at most about 1: their squares then neither overflow nor vanish."""
    centred: Numbers = values - values.mean()
    largest = float(np.abs(centred).max(initial=0.0))
    return centred / (largest or 1.0)


def _variance(square: Numbers, mean: Numbers) -> Numbers:
    variance: Numbers = square - mean * mean
    variance[variance <= ROUNDING * square] = 0.0
    return variance


def _correlation(joint: Numbers, one: Numbers, other: Numbers) -> Numbers:
    spread = np.sqrt(one) * np.sqrt(other)
    value: Numbers = np.divide(joint, spread, out=np.zeros_like(joint), where=spread > 0)
    np.clip(value, -1.0, 1.0, out=value)  # beyond is rounding
    return value


# Metrics of which more is better.
CORRELATIONS: dict[str, Callable[[Numbers, Numbers], Statistic]] = {
    "pearson": pearson_statistic,
    "spearman": spearman_statistic,
}
