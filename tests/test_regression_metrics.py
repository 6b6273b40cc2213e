"""Correlations and errors against SciPy and scikit-learn, on all rows and on drawn ones."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from components.reports.statistics import bootstrap_scores
from components.sequences.regression_metrics import CORRELATIONS, error_quantiles, regression_metrics
from components.task_types import find_task_type

TYPE = find_task_type("regression")


@st.composite
def columns(draw):
    """True and given numbers: with ties, with constant columns, of any scale and far from zero."""
    rows = draw(st.integers(1, 25))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 5, 1_000_000]))
    scale, shift = draw(st.sampled_from([1e-3, 1.0, 1e9])), draw(st.sampled_from([0.0, 1.0, 1000.0]))
    truth = generator.integers(0, levels, rows)
    said = truth + generator.integers(0, draw(st.sampled_from([1, levels, 3 * levels])), rows)
    return (truth + shift) * scale, (said + shift) * scale


def of_scipy(metric: str, truth: np.ndarray, said: np.ndarray) -> float:
    if len(np.unique(truth)) < 2 or len(np.unique(said)) < 2:
        return 0.0
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    return float(function(truth, said).statistic)


@settings(max_examples=1000, deadline=None)
@given(columns())
def test_metrics_are_those_of_scipy_and_scikit_learn(case):
    truth, said = case
    found = regression_metrics(truth, said)
    for metric in CORRELATIONS:
        assert found[metric] == pytest.approx(of_scipy(metric, truth, said), abs=1e-7)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, said))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, said))
    if len(np.unique(truth)) > 1:  # of constants scikit-learn's is what rounding makes of the mean
        assert found["r2"] == pytest.approx(reference.r2_score(truth, said), abs=1e-7)


@settings(max_examples=600, deadline=None)
@given(columns(), st.integers(0, 2**32 - 1))
def test_a_statistic_is_scipys_correlation_of_the_drawn_rows(case, seed: int):
    truth, said = case
    drawn = np.random.default_rng(seed).integers(0, len(truth), (3, len(truth)))
    weights = np.array([np.bincount(rows, minlength=len(truth)) for rows in drawn], float)
    for metric in TYPE.metric_names:
        found = TYPE.statistic(metric, [repr(x) for x in truth.tolist()], [repr(x) for x in said.tolist()])(weights)
        expected = [of_scipy(metric, truth[rows], said[rows]) for rows in drawn]
        assert found == pytest.approx(expected, abs=1e-6)


def test_constant_columns_have_no_correlation():
    for truth, said in ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]), ([1.0], [1.0]):
        found = regression_metrics(np.array(truth), np.array(said))
        assert found["pearson"] == found["spearman"] == 0.0


@pytest.mark.parametrize(("said", "r2"), [([2.0, 2.0], 1.0), ([2.0, 3.0], 0.0)])
def test_r2_of_constant_truths_says_whether_all_is_exact(said: list[float], r2: float):
    assert regression_metrics(np.array([2.0, 2.0]), np.array(said))["r2"] == r2


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_ten_thousand_resamplings_of_thousands_of_rows_take_seconds(metric: str):
    generator = np.random.default_rng(0)
    truth = generator.normal(size=2000)
    statistic = CORRELATIONS[metric](truth, truth + generator.normal(size=2000))
    began = time.process_time()
    values = bootstrap_scores([statistic], 2000, 1000, seed=0)
    assert time.process_time() - began < 5
    assert values.mean() == pytest.approx(of_scipy(metric, truth, truth), abs=0.5)


def test_quality_falls_with_the_error_and_is_one_where_exact():
    quality = TYPE.quality(["3.0", "3.0", "3.0", "-1.5"], ["3.0", "3.5", "1.0", "-1.5"])
    assert quality.tolist() == [1.0, pytest.approx(1 / 1.5), pytest.approx(1 / 3), 1.0]


def test_error_quantiles_are_of_the_absolute_error():
    found = error_quantiles(np.zeros(101), np.linspace(-1, 1, 101))
    assert [line["error"] for line in found] == pytest.approx([0.5, 0.9, 0.96, 1.0], abs=0.02)


def test_no_warning_comes_with_a_single_row():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regression_metrics(np.array([1.0]), np.array([2.0]))["mae"] == 1.0
