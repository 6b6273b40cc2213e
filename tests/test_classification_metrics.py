"""Log-loss and calibration error of a classifier against scikit-learn and the plain way to compute them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from components.sequences.classification_metrics import expected_calibration_error, log_loss

LABELS = ("a", "b", "很好")
BINS = 15  # Guo et al. 2017
ROWS = st.lists(st.tuples(st.sampled_from(LABELS), st.lists(st.integers(0, 50), min_size=3, max_size=3)), min_size=1)
PAIRS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1) | st.integers(0, BINS).map(lambda own: own / BINS)), min_size=1
)


@settings(max_examples=500, deadline=None)
@given(ROWS)
def test_log_loss_is_that_of_scikit_learn(rows):
    truth = np.array([label for label, _ in rows])
    scores = np.array([[number + 1 for number in numbers] for _, numbers in rows], np.float64)
    scores /= scores.sum(axis=1, keepdims=True)
    expected = reference.log_loss(truth, scores, labels=list(LABELS))
    assert log_loss(truth, scores, LABELS) == pytest.approx(expected)


@settings(max_examples=500, deadline=None)
@given(PAIRS)
def test_calibration_error_is_the_plain_sum_over_bins(pairs):
    expected = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        own = [(right, sure) for right, sure in pairs if low < sure <= high or sure == number == 0]
        if own:
            accuracy = sum(right for right, _ in own) / len(own)
            confidence = sum(sure for _, sure in own) / len(own)
            expected += abs(accuracy - confidence) * len(own) / len(pairs)
    right, sure = (np.array(column) for column in zip(*pairs, strict=True))
    assert expected_calibration_error(right, sure.astype(np.float64)) == pytest.approx(expected, abs=1e-9)
