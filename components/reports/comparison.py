"""The paired comparison of two models on the same rows: the test, its interval, and what it could have seen.

A share of right rows gets the exact McNemar test, or Tango's score test against a margin; every other metric
approximate randomisation, or the BCa bootstrap against a margin. Where rows belong to documents, documents are drawn
and swapped, and only the last two are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from components.errors import DataError
from components.records import EvaluationReport
from components.reports.evaluation import PREDICTIONS, documents_of
from components.reports.power import detectable, detectable_by_mcnemar
from components.reports.resampling import MakeStatistic, Pairs, bootstrap_difference, pair_up, randomisation_test
from components.reports.statistics import mcnemar_exact, mean_statistic, tango_interval, tango_score_test
from components.task_types import TaskType
from components.task_types.base import Statistic

if TYPE_CHECKING:
    import pandas as pd

FEWEST_DOCUMENTS = 20  # of fewer the bootstrap says far more than they know
OTHER = "_champion"  # what the other model said about a row has its column's name and this


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: is our difference to the other model above `bound`, tested at `alpha`.

    `confidence` is that of the two-sided interval; `power` that with which `detectable` would be found.
    """

    bound: float
    alpha: float
    confidence: float
    power: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the paired test found; `difference` is ours minus the other's, `interval` two-sided.

    `lowest` is the one-sided limit at 1 - alpha that goes with the test, never on its other side. `detectable` is the
    smallest true difference that would pass with the power asked for. `better` and `worse` count rows on which one
    answer is better than the other; `units` is how many rows or documents were drawn.
    """

    test: str
    p_value: float
    difference: float
    interval: tuple[float, float]
    lowest: float
    detectable: float
    better: int
    worse: int
    units: int


@dataclass(frozen=True, slots=True)
class Answers:
    """What two models said about the same rows: the joined predictions, and how they are scored."""

    task_type: TaskType
    metric: str
    rows: pd.DataFrame
    documents: str | None = None

    @property
    def is_share(self) -> bool:
        """Whether the metric is the share of independent rows that are answered rightly."""
        if self.metric == BY_ROW:
            whole = self.rows[["quality", "quality" + OTHER]].isin([0.0, 1.0]).to_numpy().all()
            return bool(whole) and self.documents is None
        return self.metric in self.task_type.shares and self.documents is None

    @property
    def judged(self) -> str:
        """Of a share of right rows only being right counts; elsewhere an answer may be right in part."""
        return "correct" if self.metric in self.task_type.shares else "quality"

    @property
    def better(self) -> int:
        return int((self.rows[self.judged] > self.rows[self.judged + OTHER]).sum())

    @property
    def worse(self) -> int:
        return int((self.rows[self.judged] < self.rows[self.judged + OTHER]).sum())

    @property
    def difference(self) -> float:
        """The metric of our answers less that of the other's."""
        return (self.better - self.worse) / len(self.rows) if self.is_share else self.pairs().difference

    def turned(self) -> Answers:
        """The same from the other model's side."""
        swapped = {name: name + OTHER for name in OWN if name != "row_id"}
        names = swapped | {other: name for name, other in swapped.items()}
        return Answers(self.task_type, self.metric, self.rows.rename(columns=names), self.documents)

    def among(self, rows: Any, *, by_row: bool = False) -> Answers:
        """The same on some of the rows.

        Args:
            rows: which of them, a mask.
            by_row: score the mean rightness of rows instead of the metric, such as where all have the same label.
        """
        metric = BY_ROW if by_row and self.metric not in self.task_type.shares else self.metric
        return Answers(self.task_type, metric, self.rows[rows], self.documents)

    def pairs(self) -> Pairs:
        """The same, ready to be resampled."""
        truths, ours, theirs = (self.rows[name].tolist() for name in ("label", "predicted", "predicted" + OTHER))
        documents = self.rows[self.documents].tolist() if self.documents else None
        return pair_up(self._make(), truths, ours, theirs, documents)

    def _make(self) -> MakeStatistic:
        def make(truths: Sequence[str], said: Sequence[str]) -> Statistic:
            if self.metric == BY_ROW:
                return mean_statistic(self.task_type.quality(truths, said))
            return self.task_type.statistic(self.metric, truths, said)

        return make


BY_ROW = "mean rightness of rows"
OWN = ("row_id", "predicted", "score", "quality", "correct")


def join_answers(
    task_type: TaskType, ours: EvaluationReport, theirs: EvaluationReport, documents: str | None
) -> Answers:
    """What two models said, row by row.

    Raises:
        DataError: the two reports are not about the same rows.
    """
    import pandas as pd

    if ours.test_digest != theirs.test_digest or ours.rows != theirs.rows:
        raise DataError(
            "The candidate and the champion were scored on different rows.",
            "delete the champion's evaluation below steps/, so that it is scored on the current rows.",
        )
    own = pd.read_parquet(ours.folder / PREDICTIONS)
    other = pd.read_parquet(theirs.folder / PREDICTIONS, columns=list(OWN))
    rows = own.merge(other, on="row_id", suffixes=("", OTHER), validate="one_to_one")
    documents_of(rows, documents)  # each row must have one
    return Answers(task_type, ours.primary_metric, rows, documents)


def compare(answers: Answers, question: Question) -> Comparison:
    """The test of a question, with what it says about the size of the difference."""
    return _compare_shares(answers, question) if answers.is_share else _compare_by_resampling(answers, question)


def has_too_few_documents(answers: Answers) -> bool:
    """Whether a margin cannot be tested: two documents that agree look like certainty to the bootstrap."""
    return answers.documents is not None and answers.rows[answers.documents].nunique() < FEWEST_DOCUMENTS


def p_value_of(answers: Answers, bound: float, alpha: float) -> float:
    """The one-sided p-value alone: against "our difference to the other model is at most `bound`".

    Args:
        alpha: the level that it will be held against, after what it is corrected for.

    Returns:
        1 where a margin cannot be tested: nothing is shown over so few documents, neither for a model nor against it.
    """
    if answers.is_share:
        return _share_test(answers.better, answers.worse, len(answers.rows), bound)[1]
    if bound and has_too_few_documents(answers):
        return 1.0
    pairs = answers.pairs()
    samples = pairs.samples_for(alpha)
    return bootstrap_difference(pairs, samples).p_value(bound) if bound else randomisation_test(pairs, samples)


def _share_test(better: int, worse: int, rows: int, bound: float) -> tuple[str, float]:
    if bound == 0:
        return "exact McNemar test", mcnemar_exact(better, worse)
    return "Tango score test", tango_score_test(better, worse, rows, bound)


def _compare_shares(answers: Answers, question: Question) -> Comparison:
    better, worse, rows = answers.better, answers.worse, len(answers.rows)
    test, p_value = _share_test(better, worse, rows, question.bound)
    if question.bound == 0:
        seen = detectable_by_mcnemar(better + worse, rows, question.alpha, question.power)
    else:  # as if one row more differed: of none, no spread can be told
        deviation = sqrt((better + worse + 1) / rows / rows)
        seen = detectable(question.bound, deviation, question.alpha, question.power)
    lowest = tango_interval(better, worse, rows, 1 - 2 * question.alpha)[0]
    return Comparison(
        test=test,
        p_value=p_value,
        difference=(better - worse) / rows,
        interval=tango_interval(better, worse, rows, question.confidence),
        lowest=_on_the_side_of_the_test(lowest, p_value, question),
        detectable=seen,
        better=better,
        worse=worse,
        units=rows,
    )


def _compare_by_resampling(answers: Answers, question: Question) -> Comparison:
    pairs = answers.pairs()
    samples = pairs.samples_for(question.alpha)
    drawn = bootstrap_difference(pairs, samples)
    over = "" if pairs.documents is None else " over documents"
    if question.bound == 0:
        test, p_value = f"approximate randomisation{over}", randomisation_test(pairs, samples)
    elif has_too_few_documents(answers):
        test, p_value = f"none: a margin takes {FEWEST_DOCUMENTS} documents", 1.0
    else:
        test, p_value = f"BCa bootstrap{over}", drawn.p_value(question.bound)
    return Comparison(
        test=test,
        p_value=p_value,
        difference=drawn.observed,
        interval=drawn.interval(question.confidence),
        lowest=_on_the_side_of_the_test(drawn.quantile(question.alpha), p_value, question),
        detectable=detectable(question.bound, drawn.deviation, question.alpha, question.power),
        better=answers.better,
        worse=answers.worse,
        units=len(answers.rows) if pairs.documents is None else pairs.documents.shape[0],
    )


def _on_the_side_of_the_test(lowest: float, p_value: float, question: Question) -> float:
    """A limit that does not say otherwise than the test: the two are of different methods, and may differ by a hair."""
    passed = p_value <= question.alpha
    return max(lowest, question.bound) if passed else min(lowest, question.bound)
