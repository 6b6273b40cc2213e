"""A learning curve: scores at growing numbers of rows in, what more rows would bring and how surely out.

The curve is an inverse power law, `score(n) = ceiling - gap * (n / N) ** -decay`, with N the rows there are now. It
says nothing far beyond them: nobody is told about more than twice the rows that were measured.

Source: Figueroa, Zeng-Treitler, Kandula and Ngo, Predicting sample size required for classification performance, BMC
Medical Informatics and Decision Making 12:8 (2012); on what it cannot say: Viering and Loog, The shape of learning
curves: a review, IEEE TPAMI 45 (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DRAWS = 500
FEWEST_POINTS = 4  # different numbers of rows: a curve has three parameters
SLOWEST, FASTEST = 0.01, 2.0  # decay
BEST = 1.0  # no score of ours can be higher
SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class Curve:
    """`score(n) = ceiling - gap * (n / now) ** -decay`."""

    ceiling: float
    gap: float
    decay: float
    now: float

    def at(self, rows: float) -> float:
        """The score that is expected of so many rows."""
        return float(self.ceiling - self.gap * (rows / self.now) ** -self.decay)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `more` rows are expected to bring, in points of the metric, with the 95 % bootstrap interval."""

    more: int
    gain: float
    low: float
    high: float


def fit_curve(rows: Sequence[float], scores: Sequence[float], now: float) -> Curve:
    """The inverse power law through mean scores; one that falls with more rows is fitted as one that stays level.

    Points count alike: their spread over the seeds is known too badly to weigh them by.
    """
    from scipy.optimize import least_squares

    share, found = np.asarray(rows, np.float64) / now, np.asarray(scores, np.float64)
    top = float(np.clip(found.max(), -BEST, BEST - 1e-6))
    start = (min(top + 0.02, BEST - 1e-9), max(0.02, 0.1 * (top - float(found.min()))), 0.5)

    def residuals(parameters: Numbers) -> Numbers:
        ceiling, gap, decay = parameters
        error: Numbers = ceiling - gap * share**-decay - found
        return error

    bounds = ([-BEST, 0.0, SLOWEST], [BEST, 2 * BEST, FASTEST])
    ceiling, gap, decay = least_squares(residuals, start, bounds=bounds, max_nfev=2000).x
    return Curve(float(ceiling), float(gap), float(decay), float(now))


def forecast(
    rows: Sequence[int], draws: NDArray[np.float64], means: Sequence[float], more: Sequence[int]
) -> list[Forecast]:
    """What more rows would bring.

    Args:
        rows: how many rows each point has, the last what there is now.
        draws: (resamplings, points): the mean scores on resampled rows and seeds.
        means: the mean scores themselves.
        more: how many more rows.
    """
    now = rows[-1]
    found = fit_curve(rows, means, now)
    curves = [fit_curve(rows, each.tolist(), now) for each in draws]
    forecasts = []
    for extra in more:
        gains = [curve.at(now + extra) - curve.at(now) for curve in curves]
        low, high = np.quantile(gains, (0.025, 0.975)).tolist()
        forecasts.append(Forecast(extra, found.at(now + extra) - found.at(now), low, high))
    return forecasts


def nested_sizes(rows: int, fewest: int, points: int) -> list[int]:
    """Growing numbers of rows, each about the same multiple of the one before, the last all rows.

    Returns:
        Fewer than `points` where two would be the same.
    """
    first = max(fewest, round(rows * 0.1))
    if first >= rows:
        return [rows]
    return sorted({round(size) for size in np.geomspace(first, rows, points).tolist()})
