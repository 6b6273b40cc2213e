"""What a test set can see, against simulated weeks."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.stats import binom, norm

from components.reports.power import detectable, detectable_by_mcnemar, power_of_mcnemar, rows_needed
from components.reports.statistics import mcnemar_exact


@pytest.mark.parametrize(("gain", "share", "rows"), [(0.03, 0.1, 500), (0.05, 0.05, 200), (0.0, 0.2, 300)])
def test_the_power_is_how_often_simulated_weeks_find_the_gain(gain, share, rows):
    generator = np.random.default_rng(3)
    weeks = 4000
    differing = generator.binomial(rows, share, weeks)
    wins = generator.binomial(differing, (1 + gain / share) / 2)
    found = binom.sf(wins - 1, differing, 0.5) <= 0.05
    assert power_of_mcnemar(gain, share, rows, 0.05) == pytest.approx(found.mean(), abs=0.03)


def test_the_power_is_the_published_one():
    """Exact: the case that the R package MESS is validated by, 144 pairs, 25 % and 45 % discordant, one-sided 2.5 %.

    Approximate: Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43
    (1987), formula on page 209, which the exact power comes up to with many pairs; its 23 pairs for 5 % and 45 %
    (powerandsamplesize.com) are a little too few for an exact test at 5 % and 90 %.
    """
    assert power_of_mcnemar(0.20, 0.70, 144, 0.025) == pytest.approx(0.80, abs=0.005)
    needed = (norm.isf(0.05) * sqrt(0.2) + norm.ppf(0.9) * sqrt(0.2 - 0.05**2)) ** 2 / 0.05**2
    assert needed == pytest.approx(681.3, abs=0.1)
    assert power_of_mcnemar(0.05, 0.2, 681, 0.05) == pytest.approx(0.9, abs=0.02)
    assert 0.85 < power_of_mcnemar(0.40, 0.50, 23, 0.05) < 0.90


def test_the_detectable_difference_is_found_with_the_power_asked_for():
    seen = detectable_by_mcnemar(50, 500, 0.05, 0.8)
    assert power_of_mcnemar(seen, 0.1, 500, 0.05) == pytest.approx(0.8, abs=0.001)
    assert detectable_by_mcnemar(50, 500, 0.05, 0.9) > seen > detectable_by_mcnemar(500, 5000, 0.05, 0.8)


def test_with_no_differing_rows_the_difference_itself_must_make_them():
    """Five wins and no loss are the least that is significant at 5 %; to get five so surely takes more than five."""
    assert mcnemar_exact(5, 0) <= 0.05 < mcnemar_exact(4, 0)
    seen = detectable_by_mcnemar(0, 100, 0.05, 0.8)
    assert binom.sf(4, 100, seen) == pytest.approx(0.8, abs=0.01)


def test_four_rows_see_nothing():
    assert detectable_by_mcnemar(0, 4, 0.05, 0.8) == 1.0


def test_by_the_standard_error():
    """The usual 2.49 standard errors for 5 % one-sided and 80 %; with a margin, from the margin on."""
    assert detectable(0.0, 0.01, 0.05, 0.8) == pytest.approx(0.02486, abs=1e-5)
    assert detectable(-0.02, 0.01, 0.05, 0.8) == pytest.approx(0.00486, abs=1e-5)


def test_half_the_difference_takes_four_times_the_rows():
    assert rows_needed(0.01, 0.0, 0.02, 1000) == 4000
    assert rows_needed(-0.01, 0.0, 0.02, 1000) is None
