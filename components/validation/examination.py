"""From data files to rows that may be trained on: every check is made, reported and acted on by its severity.

In: the run file, the base model's tokenizer, the labels of the live model. Out: `<split>.parquet`, the rows that were
set aside (`quarantine.jsonl`) and the report (`validation.md`, `.html`, `.json`) in one folder. `stop` rejects the
delivery, `quarantine` sets rows aside, `warn` only notes. Numbers and true/false in label columns count as the words
"0", "1", "true"; text is never guessed from another type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.config import RunConfig
from components.data.data_files import DataFile
from components.data.delivery import Delivery, read_delivery
from components.errors import RejectedData
from components.records import SPLITS, BaseModel, CheckResult, Severity, Split, ValidatedDataset
from components.step_store import storage_errors
from components.task_types import find_task_type
from components.validation import cross_checks, feedback_checks, feedback_words
from components.validation.checks import (
    REACH,
    Integers,
    Outcome,
    as_result,
    checks_of,
    either,
    has_label_set,
    severity_of,
)
from components.validation.cross_checks import Compared, compare
from components.validation.label_checks import check_counts, check_labels, check_quarantine, count_labels
from components.validation.label_words import LabelSet, LabelWords, find_labels, label_words
from components.validation.reading_checks import fault_outcomes, reading_outcomes
from components.validation.row_checks import check_rows, own_expectations
from components.validation.validated_rows import write_quarantine, write_rows
from components.validation.validation_report import Content, write_report

if TYPE_CHECKING:
    from components.validation.token_checks import LookAtTokens

# Set aside because they say nothing new or would flatter the scores: no sign of a bad delivery.
HARMLESS = ("duplicate_rows", "near_duplicates", "straddling_rows", *feedback_words.NAMES)
MOST_NAMED = 10_000  # rows of a check in validation.json; quarantine.jsonl has all that were set aside
TOKEN_CHECKS = ("windowed_rows", "unknown_tokens", REACH)
# What is said where a check could not be made: a consequence of another failure, never the reason.
CONSEQUENCES = ("Not evaluated", "There are no rows to evaluate")


def validate_dataset(
    config: RunConfig,
    base: BaseModel | None,
    champion_labels: tuple[str, ...] | None,
    folder: Path,
    *,
    files: Mapping[Split, Sequence[DataFile]] | None = None,
    look: LookAtTokens | None = None,
) -> ValidatedDataset:
    """The rows of the run file's data that may be trained on.

    Args:
        config: the run file.
        base: its tokenizer counts what would be cut or unknown; None leaves those checks out.
        champion_labels: labels of the live model, None for a first model.
        folder: receives the rows and the report.
        files: the data files as they were found when the run began; None looks for them now.
        look: reads rows with the tokenizer; None does it in this process, which then imports transformers.

    Raises:
        RejectedData: a check of severity stop failed; `folder` holds the report.
        DataError: one of `files` no longer holds what it held.
        BaseModelError: the tokenizer cannot be loaded.
        StorageError: `folder` cannot be written.
    """
    examination = _Examination(config, read_delivery(config, files))
    examination.check(base, champion_labels, look)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return examination.publish(folder)


class _Examination:
    """One delivery on its way through the checks. `usable` are the rows that no check has set aside so far."""

    def __init__(self, config: RunConfig, delivery: Delivery) -> None:
        self.config = config
        self.delivery = delivery
        self.outcomes: list[Outcome] = []
        self.usable: NDArray[np.bool_] = np.ones(len(delivery.table), np.bool_)
        self.task_type = find_task_type(config.task_type)
        self.words: LabelWords | None = None  # None, both, where the task type has no set of labels
        self.labels: LabelSet | None = None
        self.rows: Integers = np.empty(0, np.int64)  # those that go on, with the split of each
        self.splits: Integers = np.empty(0, np.int64)
        self.share_counted: NDArray[np.bool_] = np.zeros(len(delivery.table), np.bool_)

    def check(self, base: BaseModel | None, champion: Sequence[str] | None, look: LookAtTokens | None) -> None:
        """Make every check that can be made; the others say why they cannot."""
        for outcome in reading_outcomes(self.delivery):
            self.add(outcome)
        lacking = {split for split, _ in self.delivery.problems}
        if "train" not in lacking and len(self.delivery.table):
            self._check_rows(champion)
            for outcome in own_expectations(self.delivery, np.flatnonzero(self.usable), self.config):
                self.add(outcome)
            if not lacking:
                self._compare_rows()
                self._check_whole(base, champion, look)
        reason = " and ".join(sorted(lacking)) or "the data"
        self.outcomes.extend(
            Outcome(
                name, False, f"Not evaluated, because {reason} could not be read.", "mend that first.", errored=True
            )
            for name in checks_of(self.task_type)
            if name not in {outcome.name for outcome in self.outcomes} and (base or name not in TOKEN_CHECKS)
        )

    def _check_rows(self, champion: Sequence[str] | None) -> None:
        if has_label_set(self.task_type):
            self.words = label_words(self.delivery.column("label"), self.task_type)
            in_train = self.delivery.source() == SPLITS.index("train")
            self.labels = find_labels(self.words, in_train, self.config.data.labels or champion)
        for outcome in check_rows(self.delivery, self.words, self.labels, self.config):
            self.add(outcome)
        for outcome in fault_outcomes(self.task_type, self.delivery.faults, len(self.delivery.table)):
            self.add(outcome)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, and set its rows aside unless it is a warning."""
        self.outcomes.append(outcome)
        if self.severity(outcome) != "warn":
            self.usable[outcome.rows] = False
            if outcome.name not in HARMLESS:
                self.share_counted[outcome.rows] = True

    def severity(self, outcome: Outcome) -> Severity:
        """What follows if it failed; what was not evaluated, or fails for no row in particular, cannot be set aside."""
        severity = outcome.severity or severity_of(outcome.name, self.config)
        if outcome.errored or (severity == "quarantine" and not len(outcome.rows) and not outcome.count):
            return severity if outcome.passed else "stop"
        return severity

    def _compare_rows(self) -> None:
        if not self.usable.any():
            return
        compared = self._with_feedback_settled(compare(self.delivery, np.flatnonzero(self.usable)))
        if "label" in self.delivery.roles:
            self.add(cross_checks.conflicting_labels(compared))
            compared = self._remaining(compared)
        self.add(cross_checks.duplicate_rows(compared))
        compared = self._remaining(compared)
        trains, similarity = self.task_type.trains, self.config.validation.near_duplicate_similarity
        compared = self._without_leaks(compared, similarity) if trains else compared
        splits = cross_checks.assign_splits(compared, self.config.data, self.task_type.grouped_by)
        if trains:
            self.add(cross_checks.straddling_rows(compared, splits, similarity))
        kept = self.usable[compared.rows]
        self.rows, self.splits = compared.rows[kept], splits[kept]

    def _with_feedback_settled(self, compared: Compared) -> Compared:
        """The rows with one correction a text, none of a held-out text, and without the labels that they replace."""
        if not self.delivery.feedback:
            return compared
        self.add(feedback_checks.superseded(compared))
        compared = self._remaining(compared)
        self.add(feedback_checks.held_out(compared, self.config, self.task_type))
        compared = self._remaining(compared)
        self.add(feedback_checks.corrected(compared))
        return self._remaining(compared)

    def _without_leaks(self, compared: Compared, similarity: float) -> Compared:
        """The rows without those on the training side that tell a held-out row's answer."""
        self.add(cross_checks.leakage(compared, cross_checks.delivered_splits(compared)))
        compared = self._remaining(compared)
        self.add(cross_checks.near_duplicates(compared, cross_checks.delivered_splits(compared), similarity))
        return self._remaining(compared)

    def _remaining(self, compared: Compared) -> Compared:
        return compared.only(self.usable[compared.rows])

    def _check_whole(self, base: BaseModel | None, champion: Sequence[str] | None, look: LookAtTokens | None) -> None:
        reasons = [outcome for outcome in self.outcomes if outcome.name not in HARMLESS]
        # Before those that fail because few rows are left.
        self.add(check_quarantine(self.delivery, self.share_counted, reasons, self.config))
        self.add(check_counts(self.splits, self.config))
        if self.words is not None and self.labels is not None:
            words = self.words.only(self.rows)
            for outcome in check_labels(words, self.splits, self.labels.known, champion, self.config):
                self.add(outcome)
        if base is not None and len(self.rows):
            from components.validation.token_checks import check_tokens, look_at_tokens

            columns = {role: self.delivery.column(role, self.rows) for role in self.delivery.roles}
            found = (look or look_at_tokens)(columns, self.delivery.texts, base, self.config)
            for outcome in check_tokens(found, self.rows, base, self.config):
                self.add(outcome)

    def _failing(self) -> dict[str, list[str]]:
        """Names of the failing rows of each check, the first MOST_NAMED of them."""
        return {
            each.name: [*each.names, *self.delivery.row_ids(each.rows[:MOST_NAMED]).to_pylist()][:MOST_NAMED]
            if len(each.rows)
            else list(each.names[:MOST_NAMED])
            for each in self.outcomes
        }

    def results(self) -> tuple[CheckResult, ...]:
        """The records of all checks, those that failed by how grave they are."""
        results = [
            as_result(
                each, self.severity(each), self.delivery.row_ids(each.rows[:5]).to_pylist() if len(each.rows) else ()
            )
            for each in self.outcomes
        ]
        graveness = {"stop": 0, "quarantine": 1, "warn": 2}
        return tuple(sorted(results, key=lambda result: (result.passed, graveness[result.severity])))

    def publish(self, folder: Path) -> ValidatedDataset:
        """Write the report, and the rows unless a check stops the delivery.

        Raises:
            RejectedData: one does.
        """
        results = self.results()
        stops = [result for result in results if not result.passed and result.severity == "stop"]
        aside = write_quarantine(self.delivery, self.outcomes, self.severity, folder)
        counts = count_labels(self.words.only(self.rows), self.splits) if self.words and len(self.rows) else ()
        numbers = np.bincount(self.splits, minlength=len(SPLITS)).tolist()
        rows = dict(zip(SPLITS, numbers, strict=True)) if len(self.rows) else {}
        acted_on = [each for each in self.outcomes if self.severity(each) != "warn"]
        sent = feedback_checks.write_feedback(self.delivery, acted_on, self.rows, folder)
        content = Content(rows, counts, aside, self._failing(), self.delivery.digests, sent)
        write_report(self.config, results, content, folder)
        if stops:
            first = min(stops, key=lambda result: result.sentence.startswith(CONSEQUENCES))
            others = sorted(
                {result.name for result in stops if not result.sentence.startswith(CONSEQUENCES)} - {first.name}
            )
            stop = either(len(others), "check stops", "checks stop")
            more = f" {len(others)} more {stop} it: {', '.join(others)}." if others else ""
            raise RejectedData(first.sentence + more, first.hint, report=str(folder))
        labels = self.labels.known if self.labels else ()
        found = write_rows(self.delivery, self.rows, self.splits, labels, results, aside, self.config, folder)
        return replace(found, feedback=sent)
