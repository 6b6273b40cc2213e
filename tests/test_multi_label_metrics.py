"""Scores of several labels against scikit-learn, and the thresholds that are fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from components.reports.statistics import bootstrap_scores
from components.sequences.multi_label_metrics import (
    fit_thresholds,
    label_statistic,
    multi_label_metrics,
    per_label,
)
from components.task_types import find_task_type
from components.task_types.base import json_text

TYPE = find_task_type("multi_label")


@st.composite
def compared(draw):
    """Which labels apply, which are given, and scores, with empty rows and labels that never occur."""
    rows, labels = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    actual = generator.random((rows, labels)) < density
    said = np.where(generator.random((rows, labels)) < 0.5, actual, generator.random((rows, labels)) < density)
    return actual, said, generator.integers(0, 5, (rows, labels)) / 4  # with ties


@settings(max_examples=600, deadline=None)
@given(compared())
def test_metrics_are_those_of_scikit_learn(case):
    actual, said, scores = case
    found = multi_label_metrics(actual, said, scores)
    occurring = np.flatnonzero((actual | said).any(axis=0))
    of_labels = [reference.f1_score(actual[:, k], said[:, k]) for k in occurring]
    micro = reference.f1_score(actual.ravel(), said.ravel(), zero_division=1.0)
    precisions = [reference.average_precision_score(actual[:, k], scores[:, k]) for k in np.flatnonzero(actual.any(0))]
    assert found["micro_f1"] == pytest.approx(micro)
    assert found["macro_f1"] == pytest.approx(np.mean(of_labels) if of_labels else 1.0)
    assert found["subset_accuracy"] == pytest.approx((actual == said).all(axis=1).mean())
    assert found["hamming_loss"] == pytest.approx(np.mean(actual != said))
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions) if precisions else 0.0)
    assert found["log_loss"] == pytest.approx(reference.log_loss(actual.ravel(), scores.ravel(), labels=[False, True]))


@settings(max_examples=200, deadline=None)
@given(compared())
def test_the_table_of_labels_is_scikit_learns(case):
    actual, said, scores = case
    names = [f"label {k}" for k in range(actual.shape[1])]
    table = per_label(actual, said, scores, names, np.full(len(names), 0.5))
    for k, line in enumerate(table):
        expected = reference.precision_recall_fscore_support(
            actual[:, k], said[:, k], pos_label=True, zero_division=0, labels=[True]
        )
        assert [line[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
            [part[0] for part in expected]
        )


def as_labels(part: np.ndarray) -> list[str]:
    return [json_text([f"label {k}" for k in np.flatnonzero(row)]) for row in part]


@settings(max_examples=200, deadline=None)
@given(compared(), st.integers(0, 2**32 - 1))
def test_a_statistic_is_the_metric_of_the_drawn_rows(case, seed: int):
    actual, said, scores = case
    drawn = np.random.default_rng(seed).integers(0, len(actual), (3, len(actual)))
    weights = np.array([np.bincount(rows, minlength=len(actual)) for rows in drawn], float)
    for metric in TYPE.metric_names:
        found = TYPE.statistic(metric, as_labels(actual), as_labels(said))(weights)
        expected = [multi_label_metrics(actual[rows], said[rows], scores[rows])[metric] for rows in drawn]
        assert found == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(compared())
def test_a_row_is_right_if_all_its_labels_are_and_else_as_good_as_they_overlap(case):
    actual, said, _ = case
    quality = TYPE.quality(as_labels(actual), as_labels(said))
    assert ((quality == 1) == (actual == said).all(axis=1)).all()
    twice = [np.hstack([part, part]) for part in (actual, said)]  # scikit-learn wants at least two labels
    overlapping = reference.jaccard_score(*twice, average="samples", zero_division=1.0)
    assert quality.mean() == pytest.approx(overlapping)


def test_ten_thousand_resamplings_of_thousands_of_rows_take_seconds():
    generator = np.random.default_rng(0)
    actual, said = generator.random((2, 2000, 28)) < 0.05
    statistic = label_statistic("macro_f1", as_labels(actual), as_labels(said))
    assert bootstrap_scores([statistic], 2000, 2000, seed=0).shape == (1, 2000)


def best_f1(actual: np.ndarray, scores: np.ndarray) -> float:
    return max(reference.f1_score(actual, scores >= t / 100, zero_division=0) for t in range(1, 100))


@pytest.mark.parametrize("seed", range(5))
def test_a_label_with_many_positives_gets_a_threshold_as_good_as_the_best(seed: int):
    generator = np.random.default_rng(seed)
    actual = generator.random((4000, 3)) < [0.5, 0.2, 0.1]
    scores = 1 / (1 + np.exp(-generator.normal(np.where(actual, 0.5, [-0.5, -1.5, -3.0]), 1)))
    for k, threshold in enumerate(fit_thresholds(actual, scores)):
        assert reference.f1_score(actual[:, k], scores[:, k] >= threshold) > best_f1(actual[:, k], scores[:, k]) - 0.005


def test_a_label_with_few_positives_keeps_near_the_common_threshold():
    generator = np.random.default_rng(0)
    actual = np.zeros((2000, 4), bool)
    actual[:, :2] = generator.random((2000, 2)) < 0.3
    actual[7, 2] = True
    scores = np.where(actual, 0.7, 0.3) + generator.normal(0, 0.1, actual.shape)
    scores[7, 2] = 0.95  # alone it would ask for a threshold near 0.8
    common, _, rare, never = fit_thresholds(actual, scores.clip(0, 1))
    assert abs(rare - common) < 0.15
    assert abs(never - common) < 0.15


def test_without_any_positive_thresholds_stay_at_a_half():
    assert fit_thresholds(np.zeros((9, 2), bool), np.full((9, 2), 0.2)).tolist() == [0.5, 0.5]


def test_equally_good_thresholds_give_the_middle_one():
    actual = np.array([[True], [False]] * 50)
    assert fit_thresholds(actual, np.where(actual, 0.9, 0.1)).tolist() == [0.5]
