"""From scored spans to an answer: probabilities, and the threshold from which a question is left unanswered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.answer_spans import Spans
from components.task_types.base import Numbers


def probabilities(rows: Sequence[Spans], temperature: float, threshold: float | None) -> Numbers:
    """Softmax over the spans of each row and, in the first column, no answer; (rows, 1 + most spans).

    The threshold is taken from the score of no answer, so that a question is left unanswered just where that is
    likelier than the best span, and what is said is likelier than the other.
    """
    from scipy.special import softmax

    table = np.full((len(rows), 1 + max((len(row.scores) for row in rows), default=0)), -np.inf)
    for line, row in zip(table, rows, strict=True):
        line[0] = row.null - (threshold or 0.0)
        line[1 : 1 + len(row.scores)] = row.scores
    result: Numbers = softmax(table / temperature, axis=1)
    return result


def best_threshold(leads: Sequence[float], answer_f1: Numbers, answerable: NDArray[np.bool_]) -> float:
    """The threshold on the lead of no answer with the best mean F1: a row with a larger lead is left unanswered.

    It is halfway between two rows, so that none is decided by a rounding; of equally good ones the lowest.

    Args:
        leads: the score of no answer minus that of the best span; infinite where there is no span.
        answer_f1: what each row gets if it is answered.
        answerable: whether the row has an answer: what it gets otherwise is 0, or else 1.

    Source: find_best_thresh of evaluate-v2.0.py, which goes through the sorted rows in the same way.
    """
    values, place = np.unique(np.asarray(leads, np.float64), return_inverse=True)
    gain = np.where(answerable, answer_f1, answer_f1 - 1.0)
    # After all rows of one lead are answered, in the order of the leads; before the first, none is.
    totals = np.concatenate([[0.0], np.cumsum(np.bincount(place, gain, len(values)))])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0
    edges = np.concatenate([[finite[0] - 2.0], finite, [finite[-1] + 2.0]])
    best = int(np.argmax(np.round(totals[: len(finite) + 1], 9)))
    return float((edges[best] + edges[best + 1]) / 2)
