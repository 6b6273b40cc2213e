"""Writes what validation decided: the rows that go on, and those that were set aside with their reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.config import RunConfig
from components.data.delivery import COLUMN, Delivery
from components.data.rows import BadLine
from components.digests import digest_of
from components.records import SPLITS, CheckResult, Severity, ValidatedDataset
from components.validation.checks import Integers, Outcome

QUARANTINE = "quarantine.jsonl"


def write_rows(
    delivery: Delivery,
    rows: Integers,
    splits: Integers,
    labels: tuple[str, ...],
    results: tuple[CheckResult, ...],
    aside: int,
    config: RunConfig,
    folder: Path,
) -> ValidatedDataset:
    """Write `<split>.parquet` for every split, in the order of delivery, and describe them."""
    counts: dict[str, int] = {}
    parts: dict[str, str] = {}
    for place, split in enumerate(SPLITS):
        table = _table(delivery, rows[splits == place], config)
        draft = folder / f".{split}.parquet"
        pq.write_table(table, draft)
        draft.replace(folder / f"{split}.parquet")
        counts[split] = len(table)
        parts[split] = _digest(table)
    return ValidatedDataset(
        folder=folder,
        digest=digest_of({"rows": parts, "labels": labels}),
        rows=counts,
        labels=labels,
        quarantined_rows=aside,
        source_digests=delivery.digests,
        checks=results,
    )


def write_quarantine(
    delivery: Delivery, outcomes: Sequence[Outcome], severity: Callable[[Outcome], Severity], folder: Path
) -> int:
    """Write every row that does not go on, one JSON object a line, and return how many there are."""
    reasons: dict[int, list[dict[str, str]]] = {}
    for outcome in outcomes:
        if not outcome.passed and severity(outcome) != "warn":
            for row in outcome.rows.tolist():
                detail = outcome.details.get(row, "")
                reasons.setdefault(row, []).append(_reason(outcome.name, severity(outcome), detail))
    by_name = {outcome.name: severity(outcome) for outcome in outcomes}
    draft = folder / f".{QUARANTINE}"
    with draft.open("w", encoding="utf-8") as file:
        for split, name, line in delivery.bad:
            file.write(_line(_unread(split, name, line, by_name)))
        for content in _rows(delivery, reasons):
            file.write(_line(content))
    draft.replace(folder / QUARANTINE)
    return len(reasons) + len(delivery.bad)


def _table(delivery: Delivery, rows: Integers, config: RunConfig) -> Any:
    chosen = delivery.table.take(pa.array(rows))
    columns = {"row_id": delivery.row_ids(rows)}
    columns |= {role: chosen[role] for role in delivery.roles}
    columns |= {name: chosen[COLUMN + name] for name in config.evaluation.columns if name not in columns}
    return pa.table(columns)


def _digest(table: Any) -> str:
    """SHA-256 of the content, whatever the library's version writes around it; where a row came from does not count."""
    content = hashlib.sha256()
    for name in table.column_names[1:]:
        column = table[name].combine_chunks()
        lengths = pc.fill_null(pc.binary_length(column), -1).to_numpy(zero_copy_only=False).astype("<i8")
        content.update(f"{name}:{len(column)};".encode())
        content.update(lengths.tobytes())
        words = pa.concat_arrays([column.drop_null()])  # without an offset, so that its bytes are all its own
        content.update(words.buffers()[2] or b"")
    return content.hexdigest()


def _reason(check: str, severity: Severity, detail: str) -> dict[str, str]:
    return {"check": check, "severity": severity} | ({"detail": detail} if detail else {})


def _unread(split: str, name: str, line: BadLine, severities: dict[str, Severity]) -> dict[str, Any]:
    check = "encoding" if line.kind == "encoding" else "unreadable_rows"
    return {
        "row": f"{name}:{line.line}",
        "split": split,
        "file": name,
        "line": line.line,
        "reasons": [_reason(check, severities[check], line.reason)],
        "values": {"line": line.text},
    }


def _rows(delivery: Delivery, reasons: dict[int, list[dict[str, str]]]) -> Iterator[dict[str, Any]]:
    rows = np.array(sorted(reasons), np.int64)
    if not len(rows):
        return
    originals = {(odd.row, odd.column): odd.original for odd in delivery.odd}
    chosen, read = (table.take(pa.array(rows)).to_pylist() for table in (delivery.table, delivery.originals))
    for row, found, was in zip(rows.tolist(), chosen, read, strict=True):
        name = delivery.files[found["file"]]
        values = {
            column: originals.get((row, role), was[role]) for role, column in delivery.columns.items() if role in was
        }
        values |= {key.removeprefix(COLUMN): value for key, value in found.items() if key.startswith(COLUMN)}
        yield {
            "row": f"{name}:{found['line']}",
            "split": SPLITS[found["source"]],
            "file": name,
            "line": found["line"],
            "reasons": reasons[row],
            "values": values,
        }


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
