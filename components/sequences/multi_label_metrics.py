"""Scores of a model that gives each row any number of labels, and the thresholds that decide which.

Counts are of pairs of a row and a label: hits (rightly given), truths (that apply) and said (that were given). Where
nothing applies and nothing is given, all is right: F1 is then 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Numbers, Statistic

Flags = NDArray[np.bool_]  # (rows, labels)
THRESHOLDS = np.arange(1, 100) / 100
UNFITTED = 0.5
# A label's threshold is fitted as if so many positives of all labels together stood among its own rows: one with a
# handful gets nearly the common threshold, one with hundreds its own. On GoEmotions 30 is better in micro F1 than 3, 10
# and 100, than one threshold for all and than each label's own alone, with 500 validation rows and with 2,000.
PRIOR_POSITIVES = 30.0


def flags(answers: Sequence[Collection[str]], labels: Sequence[str]) -> Flags:
    """Which of `labels` each answer holds; other labels in an answer are left out."""
    place = {label: index for index, label in enumerate(labels)}
    found = np.zeros((len(answers), len(labels)), np.bool_)
    for row, answer in enumerate(answers):
        found[row, [place[label] for label in answer if label in place]] = True
    return found


def fit_thresholds(actual: Flags, scores: Numbers) -> Numbers:
    """The threshold of each label that gives it the best F1, drawn to the common one where it has few positives.

    Args:
        actual: which labels apply to the validation rows.
        scores: their probabilities (rows, labels).

    Source: Fan and Lin, A Study on Threshold Selection for Multi-label Classification, 2007, on why thresholds of rare
    labels must not be fitted on their own rows alone.
    """
    positives = actual.sum(axis=0).astype(np.float64)
    if not positives.sum():
        return np.full(actual.shape[1], UNFITTED)
    hits, said = _above(actual, scores), _above(np.ones_like(actual), scores)  # (labels, thresholds)
    share = PRIOR_POSITIVES / positives.sum()
    right = hits + share * hits.sum(axis=0)
    total = said + share * said.sum(axis=0) + positives[:, None] + PRIOR_POSITIVES
    f1 = 2 * right / total
    # Of several that are equally good the middle one: the farthest from the scores on both sides.
    best = [np.flatnonzero(row >= row.max() - 1e-12) for row in f1]
    return THRESHOLDS[[tied[(len(tied) - 1) // 2] for tied in best]]


def _above(counted: Flags, scores: Numbers) -> Numbers:
    """How many of the counted scores of each label reach each threshold: (labels, thresholds)."""
    width = len(THRESHOLDS) + 1
    reached = np.searchsorted(THRESHOLDS, scores, side="right")  # thresholds that a score reaches
    cells = reached + np.arange(scores.shape[1]) * width
    histogram = np.bincount(cells[counted], minlength=scores.shape[1] * width).reshape(-1, width)
    return histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.float64)


def multi_label_metrics(actual: Flags, said: Flags, scores: Numbers) -> dict[str, float]:
    """F1 (micro, macro), subset accuracy, mean average precision, Hamming loss, log loss and calibration error.

    The macro mean is over the labels that apply or are given somewhere, that of the average precision over those that
    apply somewhere. Log loss and calibration error are over all pairs of a row and a label.
    """
    from components.sequences.classification_metrics import expected_calibration_error

    counts = [part.sum(axis=0, dtype=np.float64)[None] for part in (actual & said, actual, said)]
    own = np.clip(np.where(actual, scores, 1 - scores), np.finfo(np.float64).eps, 1.0)
    precisions = [value for value in average_precisions(actual, scores) if value is not None]
    return {
        "micro_f1": float(_micro_f1(*counts)[0]),
        "macro_f1": float(_macro_f1(*counts)[0]),
        "subset_accuracy": float((actual == said).all(axis=1).mean()),
        "mean_average_precision": float(np.mean(precisions)) if precisions else 0.0,
        "hamming_loss": float((actual != said).mean()),
        "log_loss": float(-np.log(own).mean()),
        "expected_calibration_error": expected_calibration_error(actual.ravel(), scores.ravel()),
    }


def average_precisions(actual: Flags, scores: Numbers) -> list[float | None]:
    """The average precision of each label; None for one that applies to no row."""
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(truth, score)) if truth.any() else None
        for truth, score in zip(actual.T, scores.T, strict=True)
    ]


def per_label(
    actual: Flags, said: Flags, scores: Numbers, labels: Sequence[str], thresholds: Numbers
) -> list[dict[str, Any]]:
    """Precision, recall, F1, support, average precision and threshold of each label."""
    hits, truths, given = (part.sum(axis=0, dtype=np.float64) for part in (actual & said, actual, said))
    columns = {
        "precision": _ratio(hits, given, 0.0),
        "recall": _ratio(hits, truths, 0.0),
        "f1": _ratio(2 * hits, truths + given, 0.0),
        "threshold": thresholds,
    }
    return [
        {
            "label": label,
            **{name: float(values[index]) for name, values in columns.items()},
            "support": int(truths[index]),
            "average_precision": precision,
        }
        for index, (label, precision) in enumerate(zip(labels, average_precisions(actual, scores), strict=True))
    ]


def overlaps(truths: Sequence[str], said: Sequence[str]) -> Numbers:
    """Jaccard similarity of the labels that apply and those that are given, both JSON lists; 1 if both are empty."""
    pairs = [(set(truth), set(answer)) for truth, answer in zip(_parsed(truths), _parsed(said), strict=True)]
    return np.array([len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs], np.float64)


def label_statistic(metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
    """One of `LABEL_METRICS`, or the subset accuracy, as a function of how often each row is drawn.

    Args:
        metric: its name.
        truths: the labels that apply to each row, a JSON list.
        said: the labels that are given to it, a JSON list.
    """
    from scipy.sparse import csr_array

    from components.reports.statistics import mean_statistic

    if metric == "subset_accuracy":
        return mean_statistic((overlaps(truths, said) == 1).astype(np.float64))
    answers = [_parsed(column) for column in (truths, said)]
    labels = sorted({label for column in answers for answer in column for label in answer})
    truth, answer = (flags(column, labels) for column in answers)
    parts = [csr_array(part.astype(np.float64)) for part in (truth & answer, truth, answer)]
    return lambda weights: LABEL_METRICS[metric](*(weights @ part for part in parts))


def _parsed(answers: Sequence[str]) -> list[tuple[str, ...]]:
    different = {answer: tuple(json.loads(answer)) for answer in set(answers)}
    return [different[answer] for answer in answers]


def _ratio(part: Numbers, whole: Numbers, otherwise: float) -> Numbers:
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0)


def _micro_f1(hits: Numbers, truths: Numbers, said: Numbers) -> Numbers:
    return _ratio(2 * hits.sum(axis=1), (truths + said).sum(axis=1), 1.0)


def _macro_f1(hits: Numbers, truths: Numbers, said: Numbers) -> Numbers:
    occurring = truths + said > 0
    return _ratio(_ratio(2 * hits, truths + said, 0.0).sum(axis=1), occurring.sum(axis=1).astype(np.float64), 1.0)


# Of counts (resamplings, labels): hits, truths, said.
LABEL_METRICS: dict[str, Callable[[Numbers, Numbers, Numbers], Numbers]] = {
    "micro_f1": _micro_f1,
    "macro_f1": _macro_f1,
}
