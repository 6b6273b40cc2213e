"""Checks of the rows as a whole: how many can be used, and which labels they teach and measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.config import RunConfig
from components.data.delivery import Delivery
from components.records import SPLITS
from components.task_types import find_task_type
from components.validation.checks import Integers, Outcome, checks_of, either
from components.validation.label_words import LabelWords

MOST_IMBALANCE = 50  # rows of the largest label to rows of the smallest
Counts = tuple[Counter[str], ...]  # rows of each label, by split


def count_labels(words: LabelWords, splits: Integers) -> Counts:
    """Rows of each label in each split; `words` are parallel to `splits`."""
    return tuple(words.only(splits == split).count() for split in range(len(SPLITS)))


def check_quarantine(
    delivery: Delivery, aside: NDArray[np.bool_], reasons: Sequence[Outcome], config: RunConfig
) -> Outcome:
    """Whether more of a split was set aside than a good delivery would lose.

    Args:
        aside: whether each row of the delivery was, for something that is wrong with it.
        reasons: the outcomes of the checks that may have done it.
    """
    limit, source = config.validation.max_quarantined_share, delivery.source()
    over, shares = [], []
    for place, split in enumerate(SPLITS):
        unread = sum(where == split for where, _, _ in delivery.bad)
        lost, total = int(aside[source == place].sum()) + unread, int((source == place).sum()) + unread
        if total:
            shares.append(f"{lost:,} of {total:,} {split} rows ({lost / total:.1%})")
            if lost / total > limit:
                over.append(shares[-1])
    return Outcome(
        "quarantined_share",
        passed=not over,
        sentence=f"Set aside: {'; '.join(over or shares)}; the limit is {limit:.1%} of a split."
        + (_most_frequent(reasons) if over else ""),
        hint="mend the source (quarantine.jsonl lists the rows), or raise validation.max_quarantined_share.",
    )


def _most_frequent(reasons: Sequence[Outcome]) -> str:
    failed = [each for each in reasons if not each.passed]
    most = max(failed, key=lambda each: each.count or len(each.rows), default=None)
    return f" Most by {most.name}: {most.sentence}" if most else ""


def check_counts(splits: Integers, config: RunConfig) -> Outcome:
    """Whether there are rows enough; `splits` has the position in SPLITS of each usable row."""
    floor = config.validation.min_rows if find_task_type(config.task_type).trains else 1  # that name the labels
    return _row_count(np.bincount(splits, minlength=len(SPLITS)).tolist(), floor)


def check_labels(
    words: LabelWords, splits: Integers, known: Sequence[str], champion: Sequence[str] | None, config: RunConfig
) -> list[Outcome]:
    """One outcome for each check of the labels of all usable rows together, of those that the task type has."""
    counts = count_labels(words, splits)
    known_checks = checks_of(find_task_type(config.task_type))
    outcomes = [
        _single_label(counts[0], words.only(splits == 0).different_answers()),
        _label_support(counts[0], known, config.validation.min_rows_per_label),
        _vanished_label(counts[0], known, champion),
        _new_label(known, champion),
        _unmeasured_label(counts, known),
        _label_balance(counts[0], config),
    ]
    return [outcome for outcome in outcomes if outcome.name in known_checks]


def _row_count(rows: Sequence[int], floor: int) -> Outcome:
    few = f"{rows[0]:,} usable {either(rows[0], 'row', 'rows')} to train on, at least {floor:,} required"
    lacking = [few] if rows[0] < floor else []
    lacking += [f"no usable row for {split}" for split, count in list(zip(SPLITS, rows, strict=True))[1:] if not count]
    are = either(rows[0], "is", "are") if rows[0] < floor else "is"
    usable = ", ".join(f"{count:,} {split}" for split, count in zip(SPLITS, rows, strict=True))
    return Outcome(
        "row_count",
        passed=not lacking,
        sentence=f"There {are} {' and '.join(lacking)}." if lacking else f"Usable rows: {usable}.",
        hint="deliver more rows, or lower validation.min_rows or raise the shares of data.split.",
    )


def _single_label(train: Counter[str], answers: int) -> Outcome:
    labels = sorted(train)  # one may be enough where rows can be without it
    return Outcome(
        "single_label",
        passed=len(labels) > 0 and answers > 1,
        sentence=f"Train holds {len(labels)} {either(len(labels), 'label', 'labels')}: {_listed(labels) or 'none'}.",
        hint="deliver rows of at least two labels; with one there is nothing to learn.",
    )


def _label_support(train: Counter[str], known: Sequence[str], floor: int) -> Outcome:
    scarce = sorted((train[label], label) for label in known if train[label] < floor)
    listed = _listed([f"{label} ({count})" for count, label in scarce])
    return Outcome(
        "label_support",
        passed=not scarce,
        sentence=f"{len(scarce)} of {len(known)} labels {either(len(scarce), 'has', 'have')} fewer than {floor} "
        f"training rows: {listed}."
        if scarce
        else f"Every one of {len(known)} labels has at least {floor} training rows.",
        hint="deliver more rows of them, drop them from data.labels, or lower validation.min_rows_per_label.",
    )


def _vanished_label(train: Counter[str], known: Sequence[str], champion: Sequence[str] | None) -> Outcome:
    gone = sorted(label for label in champion or () if label not in known or not train[label])
    return Outcome(
        "vanished_label",
        passed=not gone,
        sentence=f"{len(gone)} {either(len(gone), 'label of the live model is', 'labels of the live model are')} "
        f"no longer taught: {_listed(gone)}."
        if gone
        else "Every label of the live model is still taught.",
        hint="deliver rows of them, or accept it with validation.severity: {vanished_label: warn}.",
    )


def _new_label(known: Sequence[str], champion: Sequence[str] | None) -> Outcome:
    new = sorted(set(known) - set(champion)) if champion else []
    return Outcome(
        "new_label",
        passed=not new,
        sentence=f"{len(new)} {either(len(new), 'label is', 'labels are')} new to the live model: {_listed(new)}."
        if new
        else "No label is new.",
        hint="nothing need be done if that is meant; scores on those labels have nothing to be compared with.",
    )


def _unmeasured_label(counts: Counts, known: Sequence[str]) -> Outcome:
    unmeasured = sorted(label for label in known if counts[0][label] and not counts[2][label])
    return Outcome(
        "unmeasured_label",
        passed=not unmeasured,
        sentence=f"{len(unmeasured)} of {len(known)} labels {either(len(unmeasured), 'has', 'have')} no test row: "
        f"{_listed(unmeasured)}."
        if unmeasured
        else "Every label has test rows.",
        hint="add test rows of them, or their quality stays unknown.",
    )


def _label_balance(train: Counter[str], config: RunConfig) -> Outcome:
    task_type = find_task_type(config.task_type)
    remedies = ["evaluation.metric to macro_f1"] if "macro_f1" in task_type.metric_names else []
    remedies += ["training.class_weights to balanced"] if task_type.balances else []
    most = max(train.items(), key=lambda item: item[1], default=("", 0))
    least = min(train.items(), key=lambda item: item[1], default=("", 1))
    ratio = most[1] / least[1]
    return Outcome(
        "label_balance",
        passed=ratio <= MOST_IMBALANCE,
        sentence=f"'{most[0]}' has {most[1]:,} training rows, '{least[0]}' {least[1]:,}: {ratio:,.0f} to 1.",
        hint=f"set {' and '.join(remedies)}." if remedies else "deliver more rows of the rare labels.",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
