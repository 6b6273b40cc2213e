"""What happens to corrections among the rows: the newest of a text counts, and none touches the frozen rows.

In this order: of several corrections of one text all but the newest go; then those of texts that stand in held-out rows
(the frozen rows stay as they are, and what is learned must not tell their answers); then the delivered training rows
whose label a correction replaces. What a correction says goes through every other check like any training row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.config import RunConfig
from components.data.delivery import Delivery
from components.data.feedback import PREFIX, PROVENANCE
from components.step_store import write_whole
from components.task_types import TaskType
from components.validation import cross_checks
from components.validation.checks import Integers, Outcome, either
from components.validation.cross_checks import TRAIN, Compared
from components.validation.feedback_words import CORRECTED, HELD_OUT, SUPERSEDED

FILE = "feedback.jsonl"
PASSED = "No row fails."
NO_TIME = datetime.min.replace(tzinfo=UTC)


def superseded(compared: Compared) -> Outcome:
    """Every correction of a text but the newest: by its time, and where times are alike or missing by its place."""
    ours = _corrections(compared)
    times = _times(compared.delivery, compared.rows[ours])
    newest: dict[int, int] = {}  # number of a text to the position of its newest correction
    for place in sorted(range(len(ours)), key=lambda place: (times[place], place)):
        newest[int(compared.same[ours[place]])] = int(ours[place])
    older = np.array([row for row in ours.tolist() if newest[int(compared.same[row])] != row], np.int64)
    partners = [newest[int(compared.same[row])] for row in older.tolist()]
    return _outcome(
        compared,
        SUPERSEDED,
        older,
        partners,
        "is older than {name}",
        f"{len(older):,} {either(len(older), 'correction is', 'corrections are')} older than another of the same text.",
    )


def held_out(compared: Compared, config: RunConfig, task_type: TaskType) -> Outcome:
    """Corrections of texts that stand in validation or test, or that belong there with the rows they are grouped by."""
    ours = _corrections(compared)
    splits = cross_checks.assign_splits(compared, config.data, task_type.grouped_by)
    others = np.flatnonzero(splits != TRAIN)
    texts = [compared.same]
    shares_decide = not np.array_equal(splits, cross_checks.delivered_splits(compared))
    if task_type.grouped_by and shares_decide:
        names = dict(zip(compared.delivery.texts, compared.letters, strict=True))
        texts.append(_numbered([names[name] for name in task_type.grouped_by]))
    partner: dict[int, int] = {}
    for same in texts:
        first = dict(zip(same[others[::-1]].tolist(), others[::-1].tolist(), strict=True))
        partner |= {row: first[int(same[row])] for row in ours.tolist() if int(same[row]) in first}
    failing = np.array(sorted(partner), np.int64)
    return _outcome(
        compared,
        HELD_OUT,
        failing,
        [partner[row] for row in failing.tolist()],
        "has the text of {name}",
        f"{len(failing):,} {either(len(failing), 'correction has', 'corrections have')} the text of a held-out row, "
        "which stays as it is.",
    )


def corrected(compared: Compared) -> Outcome:
    """Delivered training rows whose text a correction gives another label."""
    ours = _corrections(compared)
    by_text = dict(zip(compared.same[ours].tolist(), ours.tolist(), strict=True))
    mine = compared.delivery.is_feedback(compared.rows)
    in_train = cross_checks.delivered_splits(compared) == TRAIN
    labels = compared.delivery.column("label", compared.rows).to_pylist() if len(ours) else []
    failing = [
        row
        for row in np.flatnonzero(~mine & in_train & np.isin(compared.same, compared.same[ours])).tolist()
        if labels[row] != labels[by_text[int(compared.same[row])]]
    ]
    return _outcome(
        compared,
        CORRECTED,
        np.array(failing, np.int64),
        [by_text[int(compared.same[row])] for row in failing],
        "is corrected by {name}",
        f"{len(failing):,} delivered {either(len(failing), 'row has', 'rows have')} another label than a correction "
        "of the same text, which counts.",
    )


def write_feedback(delivery: Delivery, outcomes: Sequence[Outcome], used: Integers, folder: Path) -> dict[str, int]:
    """Write what became of each correction and where it comes from, without texts; returns how many came to what.

    Args:
        outcomes: of all checks.
        used: positions of the rows that go on.

    Returns:
        Rows by what became of them: `used`, or the check that set them aside; `corrected_rows` counts delivered rows.
        Nothing where no corrections were asked for.
    """
    if not delivery.feedback:
        return {}
    reasons, replaced = _reasons(outcomes), _replaced(delivery, outcomes)
    rows = np.flatnonzero(delivery.is_feedback())
    going_on = set(used.tolist())
    lines, counts = [], Counter({"used": 0})
    for line in _provenance(delivery, rows):
        row = line.pop("place")
        came_to = "used" if row in going_on else reasons.get(row, "left out")
        counts[came_to] += 1
        instead = {"replaces": replaced[line["row"]]} if line["row"] in replaced else {}
        lines.append({**line, "came_to": came_to, **instead})
    counts[CORRECTED] = sum(map(len, replaced.values()))
    counts["unlabelled"] = delivery.unlabelled
    counts["unreadable"] = _unread_lines(delivery)
    write_whole(folder / FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return {name: count for name, count in counts.items() if count or name == "used"}


def _corrections(compared: Compared) -> Integers:
    found: Integers = np.flatnonzero(compared.delivery.is_feedback(compared.rows))
    return found


def _times(delivery: Delivery, rows: Integers) -> list[datetime]:
    name = f"{PREFIX}time"
    if name not in delivery.table.column_names:
        return [NO_TIME] * len(rows)
    return [_time(word) for word in delivery.table[name].combine_chunks().take(pa.array(rows)).to_pylist()]


def _time(word: str | None) -> datetime:
    try:
        found = datetime.fromisoformat(word or "")
    except ValueError:
        return NO_TIME
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _numbered(columns: Sequence[Any]) -> NDArray[np.int64]:
    """Equal numbers for equal texts."""
    joined = ["\x1f".join(map(str, each)) for each in zip(*(column.to_pylist() for column in columns), strict=True)]
    numbers: NDArray[np.int64] = np.unique(np.array(joined, object).astype(str), return_inverse=True)[1]
    return numbers


def _outcome(
    compared: Compared, name: str, failing: Integers, partners: Sequence[int], detail: str, sentence: str
) -> Outcome:
    rows = compared.rows[failing]
    names = compared.delivery.row_ids(compared.rows[np.array(partners, np.int64)]).to_pylist() if len(failing) else []
    return Outcome(
        name,
        passed=not len(failing),
        sentence=sentence if len(failing) else PASSED,
        hint="nothing need be done: docs/labelling.md says which row counts.",
        rows=rows,
        details={int(row): detail.format(name=each) for row, each in zip(rows, names, strict=True)},
        severity="quarantine",  # not the run file's to choose: with a warning the row would tell a frozen answer
    )


def _reasons(outcomes: Sequence[Outcome]) -> dict[int, str]:
    """The first check that failed for each row."""
    found: dict[int, str] = {}
    for outcome in outcomes:
        if not outcome.passed:
            for row in outcome.rows.tolist():
                found.setdefault(row, outcome.name)
    return found


def _replaced(delivery: Delivery, outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """The delivered rows that each correction replaces, by the correction's name."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.name == CORRECTED and len(outcome.rows):
            names = delivery.row_ids(outcome.rows).to_pylist()
            for row, name in zip(outcome.rows.tolist(), names, strict=True):
                found.setdefault(outcome.details[row].removeprefix("is corrected by "), []).append(name)
    return found


def _provenance(delivery: Delivery, rows: Integers) -> Iterator[dict[str, Any]]:
    """Name and origin of each correction."""
    known = [name for name in PROVENANCE if PREFIX + name in delivery.table.column_names]
    columns = ["line", *(PREFIX + name for name in known)]
    chosen = delivery.table.select(columns).take(pa.array(rows)).to_pylist()
    for place, name, origin in zip(rows.tolist(), delivery.row_ids(rows).to_pylist(), chosen, strict=True):
        file, _, line = name.rpartition(":")
        yield {"place": place, "row": name, "file": file, "line": int(line)} | {
            key: value for key in known if (value := origin[PREFIX + key]) is not None
        }


def _unread_lines(delivery: Delivery) -> int:
    names = {delivery.files[place] for place in delivery.feedback}
    return sum(file in names for _, file, _ in delivery.bad)
