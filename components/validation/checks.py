"""The checks of a delivery: their names, what happens when they fail, and what to do then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.config import RunConfig
from components.records import CheckResult, Severity
from components.task_types import TaskType, find_task_type

Integers = NDArray[np.int64]
NO_ROWS: Integers = np.empty(0, np.int64)
EXAMPLES = 5

# What a check looks at decides which severities make sense: a row without a text cannot be trained on, so that "warn"
# would be a lie; the whole delivery cannot be set aside row by row.
Kind = Literal["unusable rows", "rows", "delivery"]
SEVERITIES: Mapping[Kind, tuple[Severity, ...]] = {
    "unusable rows": ("stop", "quarantine"),
    "rows": ("stop", "quarantine", "warn"),
    "delivery": ("stop", "warn"),
}

CHECKS: Mapping[str, tuple[Kind, Severity]] = {
    "readable_files": ("unusable rows", "stop"),
    "encoding": ("unusable rows", "stop"),
    "unreadable_rows": ("unusable rows", "quarantine"),
    "wrong_type": ("unusable rows", "quarantine"),
    "blank_text": ("unusable rows", "quarantine"),
    "long_text": ("rows", "quarantine"),
    "control_characters": ("rows", "quarantine"),
    "invisible_characters": ("rows", "warn"),
    "damaged_text": ("rows", "warn"),
    "missing_label": ("unusable rows", "quarantine"),
    "label_spelling": ("unusable rows", "stop"),
    "unknown_label": ("unusable rows", "stop"),
    "conflicting_labels": ("rows", "quarantine"),
    "duplicate_rows": ("rows", "quarantine"),
    "leakage": ("rows", "quarantine"),
    "near_duplicates": ("rows", "quarantine"),
    "straddling_rows": ("rows", "quarantine"),
    "row_count": ("delivery", "stop"),
    "single_label": ("delivery", "stop"),
    "label_support": ("delivery", "stop"),
    "vanished_label": ("delivery", "stop"),
    "new_label": ("delivery", "warn"),
    "unmeasured_label": ("delivery", "warn"),
    "label_balance": ("delivery", "warn"),
    "windowed_rows": ("delivery", "warn"),
    "unknown_tokens": ("delivery", "stop"),
    "unreachable_answers": ("delivery", "warn"),
    "quarantined_share": ("delivery", "stop"),
}

# These ask which labels there are, and of which set; those after them only whether rows have a true answer.
LABEL_SET_CHECKS = (
    *("label_spelling", "unknown_label", "single_label", "label_support", "vanished_label", "new_label"),
    *("unmeasured_label", "label_balance"),
)
LABEL_CHECKS = ("missing_label", "conflicting_labels")
# These keep training rows from telling held-out answers, or count what each label teaches.
TRAINING_CHECKS = ("leakage", "near_duplicates", "straddling_rows", "label_support", "label_balance")
REACH = "unreachable_answers"
# What checks are that a task type makes when it reads: of rows that it cannot read, and of those that it mends.
FAULT: tuple[Kind, Severity] = ("unusable rows", "quarantine")
MENDED: tuple[Kind, Severity] = ("rows", "warn")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found. `rows` are positions in the delivery, `details` says more about single ones of them.

    `count` is for failing rows that have no position because they could not be read, whose names are in `names`.
    `severity` is for checks of the user's own.
    """

    name: str
    passed: bool
    sentence: str
    hint: str = ""
    rows: Integers = field(default_factory=lambda: NO_ROWS)
    errored: bool = False
    details: Mapping[int, str] = field(default_factory=dict)
    count: int = 0
    names: Sequence[str] = ()
    severity: Severity | None = None


def has_truth(task_type: TaskType) -> bool:
    """Whether rows of this type have a true answer: a column beside the texts, in any form of its files."""
    return any(
        column.role not in task_type.texts and not column.optional for form in task_type.forms for column in form
    )


def has_label_set(task_type: TaskType) -> bool:
    """Whether the true answers of this type's rows are made of a closed set of labels."""
    return task_type.has_labels and has_truth(task_type)


def checks_of(task_type: TaskType) -> dict[str, tuple[Kind, Severity]]:
    """The checks of a delivery for this task type: those that make sense for it, and its own."""
    without = [] if has_label_set(task_type) else [*LABEL_SET_CHECKS]
    without += [] if has_truth(task_type) else [*LABEL_CHECKS]
    without += [] if task_type.trains else [*TRAINING_CHECKS]
    without += [] if all(task_type.unreachable) else [REACH]
    shared = {name: check for name, check in CHECKS.items() if name not in without}
    return shared | dict.fromkeys(task_type.faults, FAULT) | dict.fromkeys(task_type.mended, MENDED)


def explain_severity(name: str, severity: str, checks: Mapping[str, tuple[Kind, Severity]]) -> str | None:
    """Why a run file cannot give this severity to a check of this name; None where it can."""
    if name not in checks:
        close = get_close_matches(name, checks, n=1)
        known = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(checks)}"
        return f"there is no check '{name}'; {known}"
    allowed = SEVERITIES[checks[name][0]]
    return None if severity in allowed else f"'{name}' may be {' or '.join(allowed)}, not {severity}"


def severity_of(name: str, config: RunConfig) -> Severity:
    """What happens when this check fails."""
    return config.validation.severity.get(name) or checks_of(find_task_type(config.task_type))[name][1]


def as_result(outcome: Outcome, severity: Severity, examples: Sequence[str]) -> CheckResult:
    """The record of an outcome; `examples` are the names of its first rows."""
    shown = tuple([*outcome.names, *examples][:EXAMPLES])
    first = f" First: {', '.join(shown)}." if shown and not outcome.passed else ""
    return CheckResult(
        name=outcome.name,
        severity=severity,
        passed=outcome.passed,
        errored=outcome.errored,
        rows=outcome.count or len(outcome.rows),
        sentence=outcome.sentence + first,
        hint="" if outcome.passed else outcome.hint,
        examples=shown,
    )


def either(count: int, one: str, many: str) -> str:
    """The words that go with a count: `one` with 1, `many` with every other."""
    return one if count == 1 else many
