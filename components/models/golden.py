"""Golden rows: the same answers, whichever way the same model is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.errors import BundleError
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import GoldenRow, read_golden
from components.task_types import Answer

EVERYTHING = 10_000  # top_k of an answer that keeps all it has
RANKED = ("top", "candidates")  # keys of lists that are in the order of their scores
SHOWN = 300  # characters of an answer in an error


def check_model(predictor: Predictor, folder: Path) -> float:
    """Largest difference of a score between a loaded model and the golden rows of its directory, or of its engine's.

    Every row is asked in the company of the others and the first also alone, which warms the network up for both.

    Raises:
        BundleError: there are no golden rows, or one gets another answer.
    """
    rows = read_golden(folder)
    answers = shown(predictor, predictor.predict([golden.row for golden in rows]))
    together = check_answers(rows, answers, predictor.tolerance)
    alone = check_answers(rows[:1], shown(predictor, predictor.predict([rows[0].row])), predictor.tolerance)
    return max(together, alone)


def shown(predictor: Predictor, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Answers as the endpoint would give them to somebody who wants all there is."""
    return [predictor.task_type.present(answer, EVERYTHING) for answer in answers]


def check_answers(
    rows: Sequence[GoldenRow], answers: Sequence[Mapping[str, Any]], tolerance: float = TOLERANCE
) -> float:
    """Largest difference of a score between the golden answers and these.

    Raises:
        BundleError: there are no golden rows, or an answer is another one; it names the row and both answers.
    """
    if not rows:
        raise BundleError("The model has no golden rows, so nothing shows that it answers right.", "train it again.")
    return max(
        _difference(number, golden, answer, tolerance)
        for number, (golden, answer) in enumerate(zip(rows, answers, strict=True))
    )


def _difference(number: int, golden: GoldenRow, answer: Mapping[str, Any], tolerance: float) -> float:
    largest = distance(golden.answer, answer)
    if not largest <= tolerance:  # a score that is not a number fails too
        raise BundleError(
            f"Golden row {number}: the trainer said {str(dict(golden.answer))[:SHOWN]}, this model says "
            f"{str(dict(answer))[:SHOWN]} (scores at most {tolerance:g} apart).",
            "compare the versions of torch and transformers here with the trainer's, then build the bundle again.",
        )
    return largest


def distance(one: Any, other: Any) -> float:
    """Largest difference of the numbers of two answers; infinite where they differ in anything but a fraction.

    Of numbers beyond one it is the relative difference: float32 has seven digits of any number. Scores stay below.

    The lists under `RANKED` are compared by what they name: two scores that are as good as equal may change places.
    """
    if isinstance(one, float) or isinstance(other, float):
        numbers = all(isinstance(value, float | int) for value in (one, other))
        gap = abs(one - other) / max(1.0, abs(one), abs(other)) if numbers else math.inf
        return math.inf if math.isnan(gap) else gap
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return math.inf
        gaps = (_ranked(one[key], other[key]) if key in RANKED else distance(one[key], other[key]) for key in one)
        return max(gaps, default=0.0)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return math.inf
        return max((distance(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    return 0.0 if one == other else math.inf


def _ranked(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> float:
    """Largest difference of a score; what only one list names may have been just behind the other's last."""
    if len(one) != len(other):
        return math.inf
    if not one:
        return 0.0
    first, second = _scores(one), _scores(other)
    lasts = min(first.values()), min(second.values())
    return max(distance(first.get(name, lasts[0]), second.get(name, lasts[1])) for name in first | second)


def _scores(items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {str(sorted((key, value) for key, value in item.items() if key != "score")): item["score"] for item in items}
