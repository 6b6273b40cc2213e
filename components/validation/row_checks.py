"""Checks that look at one row at a time; Great Expectations evaluates them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from components.config import RunConfig
from components.data.delivery import COLUMN, Delivery
from components.data.rows import as_word
from components.validation.checks import Integers, Outcome, either
from components.validation.expectations import Check, Finding, evaluate
from components.validation.label_words import LabelSet, LabelWords, filled

PASSED = "No row fails."
# Columns of the first label of each row that is misspelled, and that is not known.
SPELLED, STRANGE = "label in another spelling", "label that is not known"
# Break databases, terminals and C programs; a tab and line ends are text.
CONTROLS = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]"
# Zero-width space, byte order mark, marks that turn the direction of text; joiners belong to some scripts.
INVISIBLE = "[\u200b\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
# Second bytes of UTF-8 as Windows-1252 shows them.
_AFTER = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# Lost characters, UTF-8 read as Windows-1252 (cafÃ©, â€œ, ðŸ˜€, ä¸­æ–‡) and UTF-8 read as GBK and back (锟斤拷).
DAMAGED = (
    f"\ufffd|Ã[{_AFTER}]|Â[\xa0-\xbf]|â€[{_AFTER}]|ðŸ[{_AFTER}]|ï[¼¿][{_AFTER}]"
    f"|(?:[ã-é][{_AFTER}][{_AFTER}])(?:[ã-é][{_AFTER}][{_AFTER}])|锟斤拷|烫烫烫"
)

MISSING_LABEL = Check(
    "missing_label",
    "expect_column_values_to_not_be_null",
    {"column": "label"},
    "quarantine",
    "{rows} of {total} rows {have} no label: it is missing, null, empty or blank.",
    "label those rows, or leave them out.",
)


def check_rows(
    delivery: Delivery, words: LabelWords | None, labels: LabelSet | None, config: RunConfig
) -> list[Outcome]:
    """One outcome for each check of single rows.

    Args:
        delivery: the rows; those that were not read have their reason already.
        words: their labels.
        labels: the labels that may occur; both are None where the task type has no set of labels.
        config: the limits.
    """
    rows = np.delete(np.arange(len(delivery.table)), list(delivery.unread))
    if not len(rows):
        return [_wrong_type(delivery)]
    frame = _frame(delivery, rows, labels)
    checks = [check for role in delivery.texts for check in _text_checks(role, config)]
    checks += [MISSING_LABEL] if "label" in delivery.roles else []
    if words is not None and labels is not None:
        spelled, known = words.first_among(labels.spellings), {*labels.known, *labels.spellings}
        strange = words.first_among({word for answer in words.different for word in answer} - known)
        frame[SPELLED], frame[STRANGE] = (column.take(pa.array(rows)).to_pandas() for column in (spelled, strange))
        checks += _label_checks(labels)
    return [_wrong_type(delivery), *(_at(rows, outcome) for outcome in _merged(evaluate(checks, frame)))]


def own_expectations(delivery: Delivery, rows: Integers, config: RunConfig) -> list[Outcome]:
    """The outcomes of the run file's own expectations, on these rows and by the names of the files' columns."""
    own = config.validation.expectations
    if not own:
        return []
    checks = [
        Check(
            name=f"own_{number}_{expectation.type.removeprefix('expect_')}",
            expectation=expectation.type,
            arguments=expectation.model_extra or {},
            severity=expectation.severity,
            sentence="{rows} of {total} rows {do} not meet "
            + f"{expectation.type}({_arguments(expectation.model_extra or {})})".replace("{", "{{").replace("}", "}}")
            + "{observed}.",  # no {values}: the sentence goes to MLflow, Prefect and logs, the rows have names
            hint="correct the rows, or the expectation in validation.expectations.",
        )
        for number, expectation in enumerate(own, 1)
    ]
    return [_own_outcome(finding, rows) for finding in evaluate(checks, _named_frame(delivery, rows))]


def _text_checks(role: str, config: RunConfig) -> list[Check]:
    most = config.validation.max_characters
    what = "second text" if role == "text_pair" else role
    return [
        Check(
            "blank_text",
            "expect_column_values_to_not_be_null",
            {"column": role},
            "quarantine",
            f"{{rows}} of {{total}} rows {{have}} no {what}: it is missing, null, empty or blank.",
            "fill the text in, or leave the row out.",
        ),
        Check(
            "long_text",
            "expect_column_value_lengths_to_be_between",
            {"column": role, "max_value": most},
            "quarantine",
            f"{{rows}} of {{total}} rows {{have}} a {what} of more than {most:,} characters.",
            "cut those texts, or raise validation.max_characters.",
        ),
        _pattern(role, "control_characters", CONTROLS, "control characters (NUL, escape and the like)"),
        _pattern(role, "invisible_characters", INVISIBLE, "invisible characters (zero-width, direction marks)"),
        _pattern(role, "damaged_text", DAMAGED, "text that was decoded wrongly"),
    ]


def _pattern(role: str, name: str, pattern: str, what: str) -> Check:
    remedy = "export the source again as UTF-8." if name == "damaged_text" else "remove those characters at the source."
    arguments = {"column": role, "regex": pattern}
    sentence = f"{{rows}} of {{total}} rows {{hold}} {what}."
    return Check(name, "expect_column_values_to_not_match_regex", arguments, "quarantine", sentence, remedy)


def _label_checks(labels: LabelSet) -> list[Check]:
    known, spellings = labels.known, labels.spellings
    mapping = ", ".join(f"{label!r} to {meant!r}" for label, meant in list(spellings.items())[:5])
    few = ", ".join(known[:10]) + (f", … ({len(known)} in all)" if len(known) > 10 else "")
    few = few.replace("{", "{{").replace("}", "}}")
    return [
        Check(
            "label_spelling",
            "expect_column_values_to_not_be_in_set",
            {"column": SPELLED, "value_set": list(spellings) or [""]},  # empty labels are null here
            "stop",
            "{rows} of {total} rows {have} a label that differs from a known one in case or spaces alone: {values}.",
            f"map {mapping} at the source.",
        ),
        Check(
            "unknown_label",
            "expect_column_values_to_be_in_set",
            {"column": STRANGE, "value_set": [*known, *spellings]},
            "stop",
            f"{{rows}} of {{total}} rows {{have}} a label that is not known: {{values}}; known are {few}.",
            "correct those labels, or list every label in data.labels.",
        ),
    ]


def _frame(delivery: Delivery, rows: Integers, labels: LabelSet | None) -> Any:
    """The words as pandas strings, null where there is nothing; a value of a wrong type is reported as that alone."""
    every = len(rows) == len(delivery.table)
    frame = pa.table(
        {role: filled(delivery.column(role, None if every else rows)) for role in delivery.roles}
    ).to_pandas()
    places = dict(zip(rows.tolist(), range(len(rows)), strict=True)) if delivery.odd else {}
    a_label = labels.known[0] if labels and labels.known else "a label"
    for value in delivery.odd:
        if value.row in places and value.column in delivery.roles:
            word = a_label if value.column == "label" else as_word(value.original)
            frame.loc[places[value.row], value.column] = word
    return frame


def _at(rows: Integers, outcome: Outcome) -> Outcome:
    """The outcome of a check that saw these rows alone, by positions in the delivery."""
    return replace(outcome, rows=rows[outcome.rows])


def _named_frame(delivery: Delivery, rows: Integers) -> Any:
    """The columns by the names of the files; those that are only looked at become numbers where all are numbers."""
    import pandas

    table, originals = (each.take(pa.array(rows)) for each in (delivery.table, delivery.originals))
    frame = {
        name: originals[role].to_pandas() for role, name in delivery.columns.items() if role in originals.column_names
    }
    for column in table.column_names:
        name = column.removeprefix(COLUMN)
        if name != column and name not in frame:
            values = table[column].to_pandas()
            numbers = pandas.to_numeric(values, errors="coerce")
            frame[name] = values if (numbers.isna() & values.notna()).any() else numbers
    return pandas.DataFrame(frame)


def _wrong_type(delivery: Delivery) -> Outcome:
    kinds = Counter(f"{odd.kind} in {odd.column}" for odd in delivery.odd)
    rows = np.unique(np.fromiter((odd.row for odd in delivery.odd), np.int64, len(delivery.odd)))
    listed = ", ".join(f"{kind} ({count:,})" for kind, count in kinds.most_common())
    return Outcome(
        name="wrong_type",
        passed=not delivery.odd,
        sentence=f"{len(rows):,} {either(len(rows), 'row holds', 'rows hold')} something other than text: {listed}."
        if delivery.odd
        else PASSED,
        hint="write the text or label as a string, or leave the row out.",
        rows=rows,
        details={odd.row: f"{odd.column} is {odd.kind}" for odd in delivery.odd},
    )


def _merged(findings: Sequence[Finding]) -> list[Outcome]:
    """One outcome a name: a check of two text columns is one check."""
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[finding.check.name].append(finding)
    return [_outcome(name, group) for name, group in grouped.items()]


def _outcome(name: str, findings: Sequence[Finding]) -> Outcome:
    failed = [finding for finding in findings if not finding.passed]
    return Outcome(
        name=name,
        passed=not failed,
        sentence=" ".join(finding.sentence for finding in failed) or PASSED,
        hint=findings[0].check.hint,
        rows=np.unique(np.concatenate([finding.rows for finding in findings])),
        errored=any(finding.errored for finding in failed),
    )


def _own_outcome(finding: Finding, rows: Integers) -> Outcome:
    outcome = _outcome(finding.check.name, [finding])
    return replace(outcome, rows=rows[finding.rows], severity=finding.check.severity)


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())[:200]
