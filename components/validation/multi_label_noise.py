"""Which labels of rows with several labels are likely wrong: each label is a question of its own, answered yes or no.

For each label, every row is judged by a model that has not learned from it, and is a suspect where the other answer is
said as surely as that answer's own rows usually get it: confident learning with two classes. A row is a suspect where
one of its labels is. What is suggested is the row's list with the suspect labels added or taken away.

Source: as `label_noise.py`; one label at a time as in Thyagarajan, Snorrason, Northcutt and Mueller, Identifying
incorrect annotations in multi-label classification data (2022).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import json_text
from components.validation.label_noise import (
    FOLDS,
    LabelFindings,
    NoiseEstimate,
    Suspect,
    Vectors,
    classifier,
    confident_labels,
    out_of_fold,
)


def estimate_noise_by_label(vectors: Vectors, labels: Sequence[str]) -> NoiseEstimate:
    """The rows with the likeliest wrong labels; `share` is that of rows with one or more of them.

    Args:
        labels: a JSON list for each row. Labels that fewer rows have, or have not, than there are folds are left alone.
    """
    given = [set(json.loads(label)) for label in labels]
    surest: dict[int, float] = {}  # of a row: the smallest probability of one of its answers
    flips: dict[int, set[str]] = {}
    findings = []
    for name in sorted(set().union(*given)):
        has = np.array([name in each for each in given])
        if min(has.sum(), (~has).sum()) < FOLDS:
            continue
        suspects, own = _judge(vectors, has)
        findings.append(LabelFindings(name, int(has.sum()), int(has[suspects].sum()), int((~has[suspects]).sum())))
        for row in suspects.tolist():
            flips.setdefault(row, set()).add(name)
            surest[row] = min(surest.get(row, 1.0), float(own[row]))
    found = tuple(
        Suspect(
            row, json_text(sorted(given[row])), json_text(sorted(given[row] ^ flips[row])), surest[row], 1 - surest[row]
        )
        for row in sorted(flips, key=lambda row: surest[row])
    )
    judged = len(labels) if findings else 0
    return NoiseEstimate(found, len(found) / judged if judged else 0.0, judged, tuple(findings))


def _judge(vectors: Vectors, has: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows whose answer about one label is likely wrong, and each row's probability of its own answer."""
    answer = has.astype(np.int64)
    probabilities = out_of_fold(vectors, answer)
    suggested, _ = confident_labels(probabilities, answer)
    own: NDArray[np.float64] = probabilities[np.arange(len(answer)), answer]
    return np.flatnonzero(suggested != answer), own


def learn_several_labels(vectors: Vectors, labels: Sequence[str], others: Vectors) -> list[str]:
    """What one linear model a label says about other rows, as JSON lists: the labels that are likelier than not."""
    actual = [set(json.loads(label)) for label in labels]
    given: list[list[str]] = [[] for _ in range(len(others))]
    for name in sorted(set().union(*actual)):
        targets = np.array([name in each for each in actual])
        if targets.all():
            said = np.ones(len(others), bool)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it has not converged to the last digit
                said = classifier().fit(vectors, targets).predict(others)
        for row in np.flatnonzero(said):
            given[row].append(name)
    return [json_text(names) for names in given]


def effect_on_micro_f1(
    vectors: Vectors, labels: Sequence[str], removed: Sequence[int], test_vectors: Vectors, test_labels: Sequence[str]
) -> tuple[float, float]:
    """Micro F1 on other rows when learned from all rows, and from all but the removed ones."""
    from components.sequences.multi_label_metrics import label_statistic

    kept = np.setdiff1d(np.arange(len(labels)), np.asarray(removed, int))

    def score(rows: NDArray[np.int64]) -> float:
        said = learn_several_labels(vectors[rows], [labels[row] for row in rows.tolist()], test_vectors)
        return float(label_statistic("micro_f1", test_labels, said)(np.ones((1, len(said))))[0])

    return score(np.arange(len(labels))), score(kept)
