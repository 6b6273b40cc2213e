"""What a test set can see: the smallest true difference that the gate would let pass in most cases.

"Not shown to be better" is not "equal": a small test set sees large differences only. These numbers are about the test
set and how often the two models disagree on it, not about the difference that was found.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import scipy

SPREAD = 8  # standard deviations of the number of differing rows that are reckoned with


def detectable_by_mcnemar(differing: int, rows: int, alpha: float, power: float) -> float:
    """The smallest difference in accuracy that the exact McNemar test finds with this power.

    Args:
        differing: rows that just one of the two models answers rightly; their share is taken to stay the same, unless
            the difference itself is larger.
        rows: all frozen rows.

    Returns:
        A difference between 0 and 1; 1.0 where even that would be overlooked.
    """
    share = differing / rows
    if power_of_mcnemar(1.0, share, rows, alpha) < power:
        return 1.0
    return float(
        scipy.optimize.brentq(lambda gain: power_of_mcnemar(gain, share, rows, alpha) - power, 0.0, 1.0, xtol=1e-5)
    )


def power_of_mcnemar(gain: float, share: float, rows: int, alpha: float) -> float:
    """How likely the exact one-sided test at `alpha` finds a true gain in accuracy.

    Args:
        share: of the rows on which just one model is right; at least the gain.

    Source: the exact unconditional power, summed over the number of differing rows; Connor, Sample size for testing
    differences in proportions for the paired-sample design, Biometrics 43 (1987), has its approximation.
    """
    share = max(share, gain)
    if share == 0:
        return 0.0
    middle, deviation = rows * share, sqrt(rows * share * (1 - share))
    low, high = max(0, int(middle - SPREAD * deviation) - 1), min(rows, ceil(middle + SPREAD * deviation) + 1)
    differing = np.arange(low, high + 1)
    needed = scipy.stats.binom.isf(alpha, differing, 0.5) + 1  # fewest wins that are significant
    found = scipy.stats.binom.sf(needed - 1, differing, (1 + gain / share) / 2)
    return float((scipy.stats.binom.pmf(differing, rows, share) * np.where(needed <= differing, found, 0)).sum())


def detectable(bound: float, deviation: float, alpha: float, power: float) -> float:
    """The smallest true difference with which a test against `bound` is passed with this power.

    Args:
        bound: of the null hypothesis: the margin, negative for non-inferiority.
        deviation: standard error of the difference.
    """
    return float(bound + (scipy.stats.norm.isf(alpha) + scipy.stats.norm.ppf(power)) * deviation)


def rows_needed(difference: float, bound: float, seen: float, rows: int) -> int | None:
    """About how many frozen rows would show a difference as large as the one observed; None where none would."""
    if difference <= bound:
        return None
    return ceil(rows * ((seen - bound) / (difference - bound)) ** 2)
