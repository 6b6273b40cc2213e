"""Checks that look at one row at a time; Great Expectations evaluates them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.checks import Integers, Outcome, either
from components.config import RunConfig
from components.delivery import COLUMN, Delivery
from components.expectations import Check, Finding, evaluate
from components.rows import as_word
from components.text import normalised

PASSED = "No row fails."
# Spelled out, because Python's and Arrow's regular expressions differ in what \s and \w hold.
BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
BLANKS += "\u2009\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u2800\u3000\u3164\ufeff"
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


def check_rows(
    delivery: Delivery, known: Sequence[str], spellings: Mapping[str, str], config: RunConfig
) -> list[Outcome]:
    """One outcome for each check of single rows.

    Args:
        delivery: the rows.
        known: the labels that may occur.
        spellings: other spellings of them that do occur, with the label meant.
        config: the limits.
    """
    texts = [role for role in delivery.columns if role != "label"]
    checks = [check for role in texts for check in _text_checks(role, config)] + _label_checks(known, spellings)
    return [_wrong_type(delivery), *_merged(evaluate(checks, _frame(delivery, known)))]


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


def known_labels(
    delivery: Delivery, config: RunConfig, champion: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels that may occur, sorted, and other spellings of them that do occur with the label that is meant.

    For a first model without declared labels they are those in train; of several spellings the most frequent counts.
    """
    occurring = Counter(_counted(delivery.table["label"]))
    declared = config.data.labels or champion
    if declared:
        known = list(declared)
    else:
        in_train = Counter(_counted(delivery.table["label"].filter(pc.equal(delivery.table["source"], 0))))
        # A label whose spelling is told apart by case or spaces alone is one label, written carelessly.
        best: dict[str, str] = {}
        for label in sorted(in_train, key=lambda label: (-in_train[label], label)):
            best.setdefault(normalised(label), label)
        known = list(best.values())
    by_form = {normalised(label): label for label in known}
    spellings = {
        label: by_form[normalised(label)]
        for label in sorted(occurring)
        if label not in set(known) and normalised(label) in by_form
    }
    return tuple(sorted(known)), spellings


def _counted(labels: Any) -> dict[str, int]:
    counts = pc.value_counts(labels.filter(_not_blank(labels)))
    return {item["values"]: item["counts"] for item in counts.to_pylist() if item["values"] is not None}


def _not_blank(column: Any) -> Any:
    return pc.fill_null(pc.not_equal(pc.utf8_trim(column, characters=BLANKS), ""), False)


def _text_checks(role: str, config: RunConfig) -> list[Check]:
    most = config.validation.max_characters
    what = "second text" if role == "text_pair" else "text"
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
        _pattern(role, "damaged_text", DAMAGED, "text that was decoded wrongly: {values}"),
    ]


def _pattern(role: str, name: str, pattern: str, what: str) -> Check:
    remedy = "export the source again as UTF-8." if name == "damaged_text" else "remove those characters at the source."
    arguments = {"column": role, "regex": pattern}
    sentence = f"{{rows}} of {{total}} rows {{hold}} {what}."
    return Check(name, "expect_column_values_to_not_match_regex", arguments, "quarantine", sentence, remedy)


def _label_checks(known: Sequence[str], spellings: Mapping[str, str]) -> list[Check]:
    mapping = ", ".join(f"{label!r} to {meant!r}" for label, meant in list(spellings.items())[:5])
    few = ", ".join(known[:10]) + (f", … ({len(known)} in all)" if len(known) > 10 else "")
    few = few.replace("{", "{{").replace("}", "}}")
    allowed = {"column": "label", "value_set": [*known, *spellings]}
    spelled = {"column": "label", "value_set": list(spellings) or [""]}  # empty labels are null here
    return [
        Check(
            "missing_label",
            "expect_column_values_to_not_be_null",
            {"column": "label"},
            "quarantine",
            "{rows} of {total} rows {have} no label: it is missing, null, empty or blank.",
            "label those rows, or leave them out.",
        ),
        Check(
            "label_spelling",
            "expect_column_values_to_not_be_in_set",
            spelled,
            "stop",
            "{rows} of {total} rows {have} a label that differs from a known one in case or spaces alone: {values}.",
            f"map {mapping} at the source.",
        ),
        Check(
            "unknown_label",
            "expect_column_values_to_be_in_set",
            allowed,
            "stop",
            f"{{rows}} of {{total}} rows {{have}} a label that is not known: {{values}}; known are {few}.",
            "correct those labels, or list every label in data.labels.",
        ),
    ]


def _frame(delivery: Delivery, known: Sequence[str]) -> Any:
    """The words as pandas strings, null where there is nothing; a value of a wrong type is reported as that alone."""
    columns = {}
    for role in delivery.columns:
        column = delivery.table[role].combine_chunks()
        columns[role] = pc.if_else(_not_blank(column), column, pa.scalar(None, pa.large_string()))
    frame = pa.table(columns).to_pandas()
    for role in delivery.columns:
        odd = [value for value in delivery.odd if value.column == role]
        if odd:
            words = [known[0] if role == "label" and known else as_word(value.original) for value in odd]
            frame.loc[[value.row for value in odd], role] = words
    return frame


def _named_frame(delivery: Delivery, rows: Integers) -> Any:
    """The columns by the names of the files; those that are only looked at become numbers where all are numbers."""
    import pandas

    table = delivery.table.take(pa.array(rows))
    frame = {name: table[role].to_pandas() for role, name in delivery.columns.items()}
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
