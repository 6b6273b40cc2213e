"""What the validation finds in a folder of dirty files whose manifest says which rows are wrong, and how.

The manifest is JSON: `files` has, by path, `defect`, the numbers of the wrong `rows` (from 0, without the header; "all"
where the file as a whole is wrong), `expected_handling`, and perhaps the `kinds` of single rows.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report import Table

TRAIN, VALIDATION = "en/clean_train.jsonl", "en/clean_validation.jsonl"
TYPES: Mapping[str, Mapping[str, Any]] = {
    "en": {},
    "ner": {
        "task_type": "token_classification",
        "task": {"illegal_sequences": "refuse"},
        "columns": {"tags": "ner_tags"},
    },
    "multilabel": {"task_type": "multi_label"},
    "regression": {
        "task_type": "regression",
        "task": {"low": 0, "high": 5},
        "columns": {"text": "text_a", "text_pair": "text_b", "value": "label"},
    },
}
# What only a model can find (validation.label_noise), and what is legal or may be left out without a word.
NOT_ASKED = {"flipped label", "empty_labels", "blank line", "right"}
ROWS_OF = {
    "en/label_noise_30.jsonl": "flipped label",
    "en/quotes_newlines_valid.csv": "right",
    "en/imbalance_99_1.jsonl": "right",
}
BLANK = {("en/truncated.jsonl", 152): "blank line"}
HARMLESS = ("straddling_rows",)


@dataclass
class Found:
    """What came of one file; `missed` counts wrong rows that nobody named, by kind, `false` the right ones named."""

    file: str
    verdict: str
    checks: str
    wrong: int
    missed: Counter[str] = field(default_factory=Counter)
    false: tuple[str, ...] = ()


def examine(folder: Path) -> Iterator[Found]:
    """Every file of a manifest."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    for name, entry in files.items():
        with tempfile.TemporaryDirectory() as place:
            yield _examine(folder, name, entry, Path(place))


def _examine(folder: Path, name: str, entry: Mapping[str, Any], place: Path) -> Found:
    from components.errors import RejectedData
    from components.validation.examination import validate_dataset

    try:
        validate_dataset(_config(folder, name), None, _labels(folder, name, entry), place)
        verdict, reason = "accepted", ""
    except RejectedData as error:
        verdict, reason = "rejected", error.problem.partition("\n")[0]
    report = json.loads((place / "validation.json").read_text(encoding="utf-8"))
    failed = [check for check in report["checks"] if not check["passed"] and not check["errored"]]
    own = re.compile(rf"(?:.*/)?{re.escape(Path(name).name)}:(\d+)$")
    first = 1 if name.endswith(".jsonl") else 2  # the line of row 0
    named = {
        int(match[1]) - first
        for check in failed
        if check["name"] not in HARMLESS
        for row in check["failing"]
        if (match := own.match(row))
    }
    asked = _asked(name, entry)
    texts = _texts(folder / name)
    like = {texts[row] for row in asked if row in texts}  # of two that contradict each other, either is wrong
    wrong = {
        row for row in named - set(asked) if texts.get(row) not in like and _kind(name, entry, row) not in NOT_ASKED
    }
    missed = Counter(kind for row, kind in asked.items() if row not in named)
    checks = ", ".join(dict.fromkeys(check["name"] for check in failed)) or reason[:100]
    return Found(name, verdict, checks, len(asked), missed, tuple(str(row) for row in sorted(wrong)))


def _asked(name: str, entry: Mapping[str, Any]) -> dict[int, str]:
    """The wrong rows that are to be named, with their kinds."""
    rows = entry["rows"] if isinstance(entry["rows"], list) else []
    kinds = {row: _kind(name, entry, row) for row in rows}
    return {row: kind for row, kind in kinds.items() if kind not in NOT_ASKED}


def _kind(name: str, entry: Mapping[str, Any], row: int) -> str:
    kind = BLANK.get((name, row)) or ROWS_OF.get(name) or entry.get("kinds", entry.get("values", {})).get(str(row))
    return re.sub(r" (of|from \w+) row \d+$", "", kind or entry["defect"].partition(":")[0][:40])


def _config(folder: Path, name: str) -> Any:
    from components.config import RunConfig

    more = dict(TYPES[name.partition("/")[0]])
    data: dict[str, Any] = {"train": name}
    if name.startswith("en/"):
        swapped = name.endswith("_validation.jsonl")
        data = {"train": TRAIN if swapped else name, "validation": name if swapped else VALIDATION}
    if columns := more.pop("columns", None):
        data["columns"] = columns
    limits = {"min_rows": 10, "min_rows_per_label": 1}
    content = {"name": "dirty", "data": data, "validation": limits, "model": {"base": "none"}, "folder": folder}
    return RunConfig.model_validate({**content, **more})


def _labels(folder: Path, name: str, entry: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The labels that there should be, as a champion would name them: those of the right rows."""
    if name.startswith("en/"):
        return ("negative", "positive")
    found: set[str] = set()
    for number, row in _rows(folder / name).items():
        if number not in entry["rows"]:
            found |= {*row.get("labels", ()), *(tag[2:] for tag in row.get("ner_tags", ()) if tag != "O")}
    return tuple(sorted(found)) or None


def _texts(path: Path) -> dict[int, str]:
    """The text of each row that JSON can read."""
    return {number: str(row["text"]) for number, row in _rows(path).items() if row.get("text")}


def _rows(path: Path) -> dict[int, dict[str, Any]]:
    """The rows that JSON can read."""
    found: dict[int, dict[str, Any]] = {}
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_bytes().split(b"\n")):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                found[number] = row
    return found


def table_of(found: list[Found]) -> Table:
    """Missed and false rows of each file."""
    table = Table("Dirty files", ("file", "came to", "wrong rows", "missed", "right rows named", "failing checks"))
    for each in found:
        missed = ", ".join(f"{count} {kind}" for kind, count in sorted(each.missed.items())) or "0"
        false = f"{len(each.false)}" + (f": {', '.join(each.false[:5])}" if each.false else "")
        table.add(each.file, each.verdict, each.wrong, missed, false, each.checks)
    return table
