"""Scores of a classifier from its probabilities, by scikit-learn's definitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Scores

CALIBRATION_BINS = 15


def classification_metrics(truth: Sequence[str], scores: Scores, labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, F1 (macro, micro, weighted), MCC, log loss and expected calibration error.

    A true label that the model does not know counts as an error with probability zero (clipped in the log loss).

    Args:
        truth: the true label of each row.
        scores: probabilities (rows, labels).
        labels: the model's labels in the order of the columns of `scores`.
    """
    from sklearn.metrics import f1_score, matthews_corrcoef

    predicted = np.asarray(labels, dtype=object)[scores.argmax(axis=1)].astype(str)
    actual = np.asarray(truth, dtype=str)
    f1 = {
        f"{average}_f1": float(f1_score(actual, predicted, average=average, zero_division=0))
        for average in ("macro", "micro", "weighted")
    }
    return {
        "accuracy": float((actual == predicted).mean()),
        **f1,
        "mcc": float(matthews_corrcoef(actual, predicted)),
        "log_loss": log_loss(actual, scores, labels),
        "expected_calibration_error": expected_calibration_error(actual == predicted, scores.max(axis=1)),
    }


def log_loss(truth: NDArray[np.str_], scores: Scores, labels: Sequence[str]) -> float:
    """Mean negative log-probability of the true labels, probabilities clipped to the float64 resolution."""
    column = {label: index for index, label in enumerate(labels)}
    own = np.array([row[column[label]] if label in column else 0.0 for label, row in zip(truth, scores, strict=True)])
    return float(-np.log(np.clip(own, np.finfo(np.float64).eps, 1.0)).mean())


def expected_calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Mean distance of confidence and accuracy over equal-width bins, weighted by their rows.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, with 15 bins.
    """
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = [
        abs(correct[bins == index].mean() - confidence[bins == index].mean()) * (bins == index).mean()
        for index in range(CALIBRATION_BINS)
        if (bins == index).any()
    ]
    return float(sum(gaps))
