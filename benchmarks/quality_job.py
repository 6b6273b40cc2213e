"""What one comparison of quality hands to every system: a folder with settings and rows, and what it gets back.

The folder holds `job.json`, and `train`, `validation` and `test.jsonl` with the project's column names. A system prints
nothing that counts; it writes `answers.json` with one answer for each test row and the seconds of its training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Span = tuple[int, int, str]  # first token, end, label
JOB, ANSWERS = "job.json", "answers.json"


@dataclass(frozen=True)
class Job:
    """Settings that are the same for all systems; `nli` is the folder of the job that makes a zero-shot model."""

    task_type: str
    language: str
    base: str
    labels: Sequence[str]
    epochs: int
    batch_size: int
    learning_rate: float
    max_length: int
    head_learning_rate: float | None = None
    device: str = "cpu"
    precision: str = "fp32"
    task: Mapping[str, Any] = field(default_factory=dict)
    nli: str | None = None
    folder: Path = Path()

    @classmethod
    def load(cls, folder: Path) -> Job:
        return cls(**json.loads((folder / JOB).read_text(encoding="utf-8")), folder=folder)

    @property
    def overlap(self) -> int:
        """Tokens that windows share, as this project has them by default."""
        return self.max_length // 4

    def rows(self, split: str) -> list[Row]:
        return read_jsonl(self.folder / f"{split}.jsonl")

    def nli_model(self, seed: int) -> Path:
        """Where the entailment model of that seed is, once this project has trained it."""
        return Path(str(self.nli)) / f"seed-{seed}" / "training" / "model"


def parse_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--job", type=Path, required=True, help="folder with job.json and the rows")
    parser.add_argument("--scratch", type=Path, required=True, help="empty folder, which gets answers.json")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def write_answers(folder: Path, answers: Sequence[Any], seconds: float, **more: Any) -> None:
    content = {"answers": answers, "seconds": seconds, **more}
    (folder / ANSWERS).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def read_jsonl(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def spans_of_bio(tags: Sequence[str]) -> list[Span]:
    """The entities in BIO tags; an I- that goes on with nothing begins an entity, as in conlleval."""
    spans: list[Span] = []
    before = "O"
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and before[2:] == tag[2:]:
            spans[-1] = (spans[-1][0], place + 1, tag[2:])
        elif tag != "O":
            spans.append((place, place + 1, tag[2:]))
        before = tag
    return spans


def best_threshold(truths: Sequence[Sequence[str]], scores: Any, labels: Sequence[str]) -> float:
    """The one threshold for all labels with the highest micro F1 on these rows."""
    import numpy as np

    actual = np.array([[label in truth for label in labels] for truth in truths])

    def micro_f1(threshold: float) -> float:
        given = scores >= threshold
        return float(2 * (actual & given).sum() / max(1, actual.sum() + given.sum()))

    return max((step / 50 for step in range(1, 50)), key=micro_f1)
