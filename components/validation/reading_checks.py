"""Checks of reading itself: files, lines, and rows from which the task type can make nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from components.data.delivery import Delivery
from components.data.text_lines import CESU
from components.task_types import Fault, TaskType
from components.validation.checks import Outcome, either

LONGEST_REASON = 120  # characters of it in a sentence
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
PASSED = "No row fails."


def reading_outcomes(delivery: Delivery) -> list[Outcome]:
    """Whether all files, and all lines in them, can be read."""
    problems = [error for _, error in delivery.problems]
    readable = Outcome(
        "readable_files",
        passed=not problems,
        sentence=" ".join(error.problem for error in problems)
        or f"{len(delivery.files)} {either(len(delivery.files), 'file', 'files')} can be read.",
        hint=" ".join(dict.fromkeys(error.hint for error in problems)),
        errored=bool(problems),
    )
    guesses = sorted(set(delivery.encodings.values()))
    likely = f"; they read as {' or '.join(guesses)}" if guesses else ""
    remedy = f"save as UTF-8, for example: iconv -f {guesses[0] if guesses else ''} -t UTF-8 FILE > NEW_FILE."
    if CESU in guesses:
        remedy = "write each emoji as one character at the source, not as two halves of a UTF-16 pair."
    return [
        readable,
        _bad_lines(delivery, "encoding", f"not UTF-8{likely}", remedy),
        _bad_lines(delivery, "unreadable_rows", "without a whole row", "mend those lines at the source."),
    ]


def _bad_lines(delivery: Delivery, name: str, what: str, hint: str) -> Outcome:
    lines = [(file, line) for _, file, line in delivery.bad if (line.kind == "encoding") == (name == "encoding")]
    are = either(len(lines), "line is", "lines are")
    sentence = f"{len(lines):,} {are} {what}; the first: {lines[0][1].reason}." if lines else PASSED
    names = [f"{file}:{line.line}" for file, line in lines]
    return Outcome(name, passed=not lines, sentence=sentence, hint=hint, count=len(lines), names=names)


def fault_outcomes(task_type: TaskType, faults: Mapping[int, Fault], total: int) -> list[Outcome]:
    """One outcome for each check that the task type makes when it reads rows."""
    lost = [_outcome(name, hint, faults, total, "cannot be learned from") for name, hint in task_type.faults.items()]
    mended = [_outcome(name, hint, faults, total, "were mended") for name, hint in task_type.mended.items()]
    return [*lost, *mended]


def _outcome(name: str, hint: str, faults: Mapping[int, Fault], total: int, what: str) -> Outcome:
    found = {row: fault.reason for row, fault in faults.items() if fault.check == name}
    reason = next(iter(found.values()), "")
    reason = QUOTED.sub("'…'", reason)  # values are people's data, and the sentence goes to MLflow and logs
    short = reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"
    return Outcome(
        name,
        passed=not found,
        sentence=f"{len(found):,} of {total:,} rows {what}; the first: {short}." if found else PASSED,
        hint=hint,
        rows=np.array(sorted(found), np.int64),
        details=found,
    )
