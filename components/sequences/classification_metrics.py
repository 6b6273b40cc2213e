"""Scores of a classifier from its probabilities, by scikit-learn's definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Numbers, Statistic

CALIBRATION_BINS = 15
Counts = NDArray[np.float64]  # (resamplings, classes)
Words = Sequence[str] | NDArray[np.str_]


def classification_metrics(truth: Sequence[str], scores: Numbers, labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, F1 (macro, micro, weighted), MCC, log loss and expected calibration error.

    A true label that the model does not know counts as an error with probability zero (clipped in the log loss).

    Args:
        truth: the true label of each row.
        scores: probabilities (rows, labels).
        labels: the model's labels in the order of the columns of `scores`.
    """
    predicted = np.asarray(labels, dtype=object)[scores.argmax(axis=1)].astype(str)
    actual = np.asarray(truth, dtype=str)
    return {
        **_class_metrics(actual, predicted),
        "log_loss": log_loss(actual, scores, labels),
        "expected_calibration_error": expected_calibration_error(actual == predicted, scores.max(axis=1)),
    }


def _class_metrics(truths: NDArray[np.str_], said: NDArray[np.str_]) -> dict[str, float]:
    labels, truth, answer = _codes(truths, said)
    parts = (truth[truth == answer], truth, answer)
    right, occurring, answered = (np.bincount(part, minlength=labels)[None].astype(np.float64) for part in parts)
    return {name: float(metric(right, occurring, answered)[0]) for name, metric in CLASS_METRICS.items()}


def log_loss(truth: NDArray[np.str_], scores: Numbers, labels: Sequence[str]) -> float:
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


def per_class(truths: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 and support of each label that occurs, and the confusion matrix with the truth in rows."""
    from sklearn.metrics import precision_recall_fscore_support

    labels = sorted(set(truths) | set(said))
    columns = precision_recall_fscore_support(truths, said, labels=labels, zero_division=0)
    names = ("precision", "recall", "f1", "support")
    table = [
        {"label": label, **{name: values[i].item() for name, values in zip(names, columns, strict=True)}}
        for i, label in enumerate(labels)
    ]
    places = [np.searchsorted(labels, np.asarray(column, str)) for column in (truths, said)]
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, tuple(places), 1)
    return {"labels": labels, "per_class": table, "confusion": confusion.tolist()}


def reliability(correct: NDArray[np.bool_], confidence: Numbers) -> list[dict[str, float]]:
    """Mean confidence and accuracy of each bin that has rows: the points of a reliability diagram."""
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int), 1, CALIBRATION_BINS)
    return [
        {
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
            "rows": int((bins == index).sum()),
        }
        for index in np.unique(bins)
    ]


def class_statistic(metric: str, truths: Words, said: Words) -> Statistic:
    """One of `CLASS_METRICS` as a function of how often each row is drawn."""
    labels, truth, answer = _codes(truths, said)
    right = truth == answer
    hits = _indicator(truth[right], labels)
    truths_of, answers_of = _indicator(truth, labels), _indicator(answer, labels)

    def statistic(weights: Numbers) -> Numbers:
        return CLASS_METRICS[metric](weights[:, right] @ hits, weights @ truths_of, weights @ answers_of)

    return statistic


def _codes(truths: Words, said: Words) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """How many labels occur, and the number of each truth's and each answer's."""
    labels = sorted(set(truths) | set(said))
    truth, answer = (np.searchsorted(labels, column) for column in (np.asarray(truths, str), np.asarray(said, str)))
    return len(labels), truth, answer


def _indicator(codes: NDArray[np.int64], classes: int) -> Any:
    """One row a code with a single one: (rows, classes)."""
    from scipy.sparse import csr_array

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


CLASS_METRICS: dict[str, Callable[[Counts, Counts, Counts], NDArray[np.float64]]] = {
    "accuracy": _accuracy,
    "micro_f1": _accuracy,  # one label a row: the two are the same
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "mcc": _mcc,
}
