"""Golden rows: the same answers, whichever way the same model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.errors import BundleError
from components.inference import TOLERANCE, Predictor
from components.model_directory import GoldenRow, read_golden
from components.task_types import Answer


def check_model(predictor: Predictor, folder: Path) -> float:
    """Largest difference of a score between a loaded model and the golden rows of its directory.

    Every row is asked in the company of the others and the first also alone, which warms the network up for both.

    Raises:
        BundleError: there are no golden rows, or one gets another answer.
    """
    rows = read_golden(folder)
    together = check_answers(rows, predictor.predict([golden.row for golden in rows]), predictor.manifest.labels)
    alone = check_answers(rows[:1], predictor.predict([rows[0].row]), predictor.manifest.labels)
    return max(together, alone)


def check_answers(rows: Sequence[GoldenRow], answers: Sequence[Answer], labels: Sequence[str]) -> float:
    """Largest difference of a score between the trainer's answers and these.

    Raises:
        BundleError: there are no golden rows, or a label or a score differs; it names the row and the numbers.
    """
    if not rows:
        raise BundleError("The model has no golden rows, so nothing shows that it answers right.", "train it again.")
    return max(
        _difference(number, golden, answer, labels)
        for number, (golden, answer) in enumerate(zip(rows, answers, strict=True))
    )


def _difference(number: int, golden: GoldenRow, answer: Answer, labels: Sequence[str]) -> float:
    gaps = [abs(ours - theirs) for ours, theirs in zip(answer.scores, golden.scores, strict=True)]
    largest = max(gaps)
    expected = labels[golden.scores.index(max(golden.scores))]
    tied = max(golden.scores) - golden.scores[labels.index(answer.label)] <= TOLERANCE
    if not largest <= TOLERANCE or not (answer.label == expected or tied):  # a score that is not a number fails too
        worst = gaps.index(largest) if largest == largest else 0
        raise BundleError(
            f"Golden row {number}: the trainer said {expected} with {golden.scores[worst]:.6f} for "
            f"{labels[worst]}, this model says {answer.label} with {answer.scores[worst]:.6f} "
            f"(at most {TOLERANCE:g} apart).",
            "compare the versions of torch and transformers here with the trainer's, then build the bundle again.",
        )
    return largest
