"""From scored spans to an answer: probabilities, and the threshold from which a question is left unanswered.

Both are fitted on validation rows: the threshold by F1, then the temperature by how often what is said is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.answers.answer_spans import Spans
from components.task_types.base import Answer, Numbers

THRESHOLD, EVEN = "no_answer_threshold", 0.0  # before it is fitted, no answer wins where it has the higher score
TEMPERATURE = "temperature"


def fit_choice(contexts: Sequence[str], labels: Sequence[str], rows: Sequence[Spans]) -> dict[str, float | None]:
    """The threshold, None where every row has an answer, and the temperature.

    Args:
        contexts: of the validation rows.
        labels: their true answers.
        rows: their spans.
    """
    from components.answers.answer_metrics import answer_scores, true_answers
    from components.models.calibration import fit_temperature

    best = [own.best_text(context) for context, own in zip(contexts, rows, strict=True)]
    leads = [own.null_lead for own in rows]
    answerable = np.array([bool(true_answers(label)) for label in labels])
    threshold = None if answerable.all() else best_threshold(leads, answer_scores("f1", labels, best), answerable)
    silent = [is_unanswered(lead, threshold) for lead in leads]
    said = ["" if unanswered else text for unanswered, text in zip(silent, best, strict=True)]
    right = answer_scores("exact_match", labels, said) == 1
    columns = np.where(silent, 0, 1)

    def loss(temperature: float) -> float:
        chosen = probabilities(rows, temperature, threshold)[np.arange(len(rows)), columns]
        likelihood = np.where(right, chosen, 1 - chosen)
        return float(-np.log(np.clip(likelihood, np.finfo(np.float64).eps, 1.0)).mean())

    return {THRESHOLD: threshold, TEMPERATURE: fit_temperature(loss)}


def is_unanswered(lead: float, threshold: float | None) -> bool:
    """Whether a question is left unanswered; without a threshold, only where there is no span at all."""
    return lead == np.inf or (threshold is not None and lead > threshold)


def answer_of(context: str, spans: Spans, scores: Sequence[float], threshold: float | None) -> Answer:
    """All that is said about one row.

    Args:
        context: what the answer is cut from.
        spans: the candidates.
        scores: the row's line of `probabilities`.
        threshold: by which it was made.
    """
    candidates = [
        {"text": context[start:end], "start": start, "end": end, "score": score}
        for start, end, score in zip(spans.starts, spans.ends, scores[1:], strict=False)  # the table has filled rows up
    ]
    best: dict[str, Any] = {"answer": "", "start": None, "end": None, "score": scores[0]}
    if not is_unanswered(spans.null_lead, threshold):
        first = candidates[0]
        best = {"answer": first["text"], **{name: first[name] for name in ("start", "end", "score")}}
    beyond = np.inf if threshold is None else spans.null_lead - threshold
    return {**best, "no_answer_score": scores[0], "candidates": candidates, "beyond_threshold": beyond}


def probabilities(rows: Sequence[Spans], temperature: float, threshold: float | None) -> Numbers:
    """Softmax over the spans of each row and, in the first column, no answer; (rows, 1 + most spans).

    The threshold is taken from the score of no answer, so that a question is left unanswered just where that is
    likelier than the best span, and what is said is likelier than the other.
    """
    from components.models.calibration import softmax

    table = np.full((len(rows), 1 + max((len(row.scores) for row in rows), default=0)), -np.inf)
    for line, row in zip(table, rows, strict=True):
        line[0] = row.null - (threshold or 0.0)
        line[1 : 1 + len(row.scores)] = row.scores
    result: Numbers = softmax(table / temperature)
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
