"""Made-up reviews, and data files of them that a test can spoil."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.errors import RejectedData
from components.records import CheckResult, ValidatedDataset
from components.validation.examination import validate_dataset

# fmt: off
NOUNS = ("kettle", "bicycle", "umbrella", "lantern", "sofa", "printer", "jacket", "blanket", "camera", "guitar")
VERBS = ("arrived", "broke", "worked", "leaked", "rattled", "glowed", "shrank", "lasted", "creaked", "faded")
PLACES = ("kitchen", "office", "garden", "attic", "cellar", "garage", "balcony", "hallway", "workshop", "porch")
TIMES = ("yesterday", "today", "overnight", "weekly", "twice", "finally", "never", "always", "quickly", "slowly")
PEOPLE = ("daughter", "neighbour", "brother", "colleague", "plumber", "teacher", "landlord", "cousin", "guest")
# fmt: on

Row = dict[str, Any]


def reviews(count: int, seed: int = 1) -> list[Row]:
    """Rows with the keys text and label, no two of them alike."""
    draw = random.Random(seed)
    rows: dict[str, Row] = {}
    while len(rows) < count:
        label = draw.choice(("good", "bad"))
        words = [draw.choice(group) for group in (NOUNS, VERBS, PLACES, TIMES, PEOPLE, NOUNS, VERBS)]
        code = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=12))
        text = f"{words[0]} {words[1]} {words[3]} {code}, {words[4]} {words[2]} {words[5]} {words[6]} {code[::-1]}"
        rows.setdefault(text, {"text": text, "label": label})
    return list(rows.values())


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def run_config(
    folder: Path, data: dict[str, Any], evaluation: dict[str, Any] | None = None, **validation: Any
) -> RunConfig:
    """Settings for small data."""
    limits = {"min_rows": 10, "min_rows_per_label": 2, **validation}
    content = {
        "name": "reviews",
        "data": data,
        "validation": limits,
        "model": {"base": "tiny", "max_length": 32},
        "evaluation": evaluation or {},
        "folder": folder,
    }
    return RunConfig.model_validate(content)


class Validated:
    """What came of a validation, accepted or not, with the report that was written."""

    def __init__(self, config: RunConfig, champion: tuple[str, ...] | None = None, base: Any = None) -> None:
        self.folder = config.folder / "validated"
        self.dataset: ValidatedDataset | None = None
        self.rejection: RejectedData | None = None
        try:
            self.dataset = validate_dataset(config, base, champion, self.folder)
        except RejectedData as error:
            self.rejection = error
        self.report = json.loads((self.folder / "validation.json").read_text(encoding="utf-8"))

    @property
    def failed(self) -> list[str]:
        """Names of the failing checks that were evaluated."""
        checks = self.report["checks"]
        return sorted(each["name"] for each in checks if not each["passed"] and "Not evaluated" not in each["sentence"])

    def check(self, name: str) -> dict[str, Any]:
        return next(each for each in self.report["checks"] if each["name"] == name)

    def quarantined(self) -> dict[str, list[str]]:
        """Checks by row, of every row that does not go on."""
        lines = (self.folder / "quarantine.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        rows = map(json.loads, lines)
        return {row["row"]: [reason["check"] for reason in row["reasons"]] for row in rows}


def result(name: str, checks: Sequence[CheckResult]) -> CheckResult:
    return next(each for each in checks if each.name == name)
