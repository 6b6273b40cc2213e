"""Which labels are likely wrong: vectors of the training rows and their labels in, the suspects and their share out.

Every row is judged by a model that has not learned from it (cross-validation). A row is a suspect where another label
is said as surely as that label's own rows usually get it: confident learning. cleanlab has it too; its licence (AGPL)
does not fit ours, and scikit-learn has all that is needed.

Source: Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70 (2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
FOLDS = 5
PENALTY = 10.0  # inverse strength of the regression's: vectors of length one are small
MOST_STEPS = 300
SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label is likely wrong: its position, both labels, and the probability of each."""

    row: int
    label: str
    suggested: str
    own_probability: float
    suggested_probability: float


@dataclass(frozen=True, slots=True)
class LabelFindings:
    """Of one label of several: the rows that have it, those that likely should not, and those that likely should."""

    label: str
    rows: int
    wrongly_given: int
    missing: int


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """The suspects, the surest first, and the estimated share of wrong labels among the rows that were judged.

    `by_label` says it of each label, where rows may have several.
    """

    suspects: tuple[Suspect, ...]
    share: float
    judged: int
    by_label: tuple[LabelFindings, ...] = ()


def estimate_noise(vectors: Vectors, labels: Sequence[str]) -> NoiseEstimate:
    """The likeliest wrong labels. Labels with fewer rows than there are folds are left alone."""
    named = np.asarray(labels, str)
    known, counts = np.unique(named, return_counts=True)
    judged = np.flatnonzero(np.isin(named, known[counts >= FOLDS]))
    if len(judged) == 0 or (counts >= FOLDS).sum() < 2:
        return NoiseEstimate((), 0.0, 0)
    classes, given = np.unique(named[judged], return_inverse=True)
    probabilities = out_of_fold(vectors[judged], given)
    suggested, share = confident_labels(probabilities, given)
    wrong = np.flatnonzero(suggested != given)
    gap = probabilities[wrong, given[wrong]] - probabilities[wrong, suggested[wrong]]
    suspects = tuple(
        Suspect(
            row=int(judged[row]),
            label=str(classes[given[row]]),
            suggested=str(classes[suggested[row]]),
            own_probability=float(probabilities[row, given[row]]),
            suggested_probability=float(probabilities[row, suggested[row]]),
        )
        for row in wrong[np.argsort(gap, kind="stable")]
    )
    return NoiseEstimate(suspects, share, len(judged))


def out_of_fold(vectors: Vectors, given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (rows, labels), each row's from a model that has not seen it."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged to the last digit
        found: NDArray[np.float64] = cross_val_predict(classifier(), vectors, given, cv=folds, method="predict_proba")
    return found


def confident_labels(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """The label that each row is confidently counted to (its own where none is), and the share of wrong labels.

    A label's threshold is the mean probability that its own rows get for it. The share is that off the diagonal of the
    confident joint, after each given label's row of it was scaled to how many rows have that label.
    """
    labels = probabilities.shape[1]
    thresholds = np.array([probabilities[given == label, label].mean() for label in range(labels)])
    sure = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = sure.max(axis=1) >= 0
    best = np.where(counted, sure.argmax(axis=1), given)
    joint = np.zeros((labels, labels))
    np.add.at(joint, (given[counted], best[counted]), 1)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] = 1
    scaled = joint / joint.sum(axis=1, keepdims=True) * np.bincount(given, minlength=labels)[:, None]
    return best, float(1 - np.trace(scaled) / scaled.sum())


def effect_of_removal(
    vectors: Vectors, labels: Sequence[str], removed: Sequence[int], test_vectors: Vectors, test_labels: Sequence[str]
) -> tuple[float, float]:
    """Accuracy on other rows when learned from all rows, and from all but the removed ones."""
    kept = np.setdiff1d(np.arange(len(labels)), np.asarray(removed, int))
    named, wanted = np.asarray(labels, str), np.asarray(test_labels, str)

    def accuracy(rows: NDArray[np.int64]) -> float:
        if len(np.unique(named[rows])) < 2:
            return float((wanted == named[rows][0]).mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = classifier().fit(vectors[rows], named[rows])
        return float((model.predict(test_vectors) == wanted).mean())

    return accuracy(np.arange(len(labels))), accuracy(kept)


def classifier() -> Any:
    """The simple model that judges."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=PENALTY, max_iter=MOST_STEPS)
