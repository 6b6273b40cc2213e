"""Real traffic for the simulation of the monitor: a model of Banking77 that has never seen seven of its intents, and
what is measured of its answers to held-out texts, changed in the ways in which traffic changes."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from components.behaviour.perturbations import casing, typo
from components.models.inference import Predictor, open_predictor
from components.monitoring.measuring import Meter
from components.monitoring.samples import table_of
from components.serving.releases import MODEL, engine_of, read_release_file
from components.training.devices import usable_threads

ROOT = Path(__file__).resolve().parent.parent
NAME = "banking70"
EVERY = 11  # each so-manieth intent, in the order of their names, is new to the model
LEARNED = 4000  # training rows
CHANGED = 1000  # texts of each other kind
TIMED = 400  # texts that are asked one by one, for real times


@dataclass(frozen=True)
class Traffic:
    """What is measured of held-out texts, one table a kind of text, and the times of single answers in milliseconds."""

    tables: Mapping[str, pd.DataFrame]
    ms: np.ndarray[Any, Any]
    accuracy: float

    @property
    def usual(self) -> pd.DataFrame:
        return self.tables["usual"]


def real_traffic(home: Path) -> Traffic:
    """The traffic, from a model that is trained once for each home."""
    home.mkdir(parents=True, exist_ok=True)
    release = home / "home" / "releases" / f"{NAME}.json"
    if not release.exists():
        _train(home)
    source = read_release_file(release).path / "src"
    answering = cache(lambda: open_predictor(source / MODEL, engine_of(source), usable_threads()))
    usual, new = _held_out()
    texts: dict[str, Sequence[str]] = {
        "usual": [text for text, _ in usual],
        "new intents": [text for text, _ in new],
        **{name: [change(text) for text, _ in usual[:CHANGED]] for name, change in CHANGES.items()},
        "Chinese": _chinese(),
        "another subject": _restaurants(),
    }
    tables = {
        name: _measured(answering, own, home / f"{name.replace(' ', '-')}.parquet") for name, own in texts.items()
    }
    right = np.mean([said == label for said, (_, label) in zip(tables["usual"]["label"], usual, strict=True)])
    return Traffic(tables, _times(answering, texts["usual"][:TIMED], home / "ms.npy"), float(right))


@cache
def _rows(split: str) -> list[tuple[str, str]]:
    with (ROOT / "examples" / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


@cache
def _new_labels() -> set[str]:
    return set(sorted({label for _, label in _rows("test")})[::EVERY])


def _split() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The rows that are learned, and those that are left of the training rows."""
    rows = [row for row in _rows("train") if row[1] not in _new_labels()]
    random.Random(1).shuffle(rows)
    return rows[:LEARNED], rows[LEARNED:]


def _held_out() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Rows that the model never learned from: of the intents that it knows, and of those that it does not."""
    new = _new_labels()
    test, train = _rows("test"), _rows("train")
    usual = _split()[1] + [row for row in test if row[1] not in new]
    return usual, [row for row in (*train, *test) if row[1] in new]


def _train(home: Path) -> None:
    """`rebert run` on the rows that are learned; the version is live in this home afterwards."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "banking77.yaml").read_text(encoding="utf-8"))
    new = _new_labels()
    splits = {name: [row for row in _rows(name) if row[1] not in new] for name in ("validation", "test")}
    for name, rows in {"train": _split()[0], **splits}.items():
        with (home / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        content["data"][name] = f"{name}.csv"
    content["name"] = NAME
    content["validation"] = {"min_rows": 100, "min_rows_per_label": 1, "max_quarantined_share": 1.0}
    content["gate"] = {"floor": 0.0}
    content["training"]["epochs"] = 4
    del content["evaluation"]["behaviour"]
    (home / f"{NAME}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    environment = {**os.environ, "REBERT_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.cli", "run", f"{NAME}.yaml"]
    subprocess.run(command, cwd=home, env=environment, check=True)


def _measured(answering: Callable[[], Predictor], texts: Sequence[str], path: Path) -> pd.DataFrame:
    """What the endpoint would log of these texts; computed once for each home."""
    if path.exists():
        return pd.read_parquet(path)
    predictor, rows = answering(), [{"text": text} for text in texts]
    windows = predictor.encode(rows)
    answers = predictor.conclude(rows, windows, predictor.outputs_of(windows.features))
    table = table_of(Meter(predictor).measure(rows, windows, answers))
    table.to_parquet(path)
    return table


def _times(answering: Callable[[], Predictor], texts: Sequence[str], path: Path) -> np.ndarray[Any, Any]:
    """Milliseconds of single answers; measured once for each home."""
    if path.exists():
        return np.load(path)
    predictor, found = answering(), []
    for text in texts:
        began = time.perf_counter()
        predictor.predict([{"text": text}])
        found.append((time.perf_counter() - began) * 1000)
    np.save(path, np.array(found[len(found) // 10 :]))  # without the first, which warm it up
    return np.load(path)


def _half(text: str) -> str:
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def _typos(text: str) -> str:
    """Three typos, one after the other."""
    for _ in range(3):
        text = typo(text) or text
    return text


def _longer(text: str) -> str:
    return f"{text} {LONGER[len(text) % len(LONGER)]}"


LONGER = (
    "I have been a customer for many years and never had a problem before, so please tell me what I should do now.",
    "I tried it twice yesterday evening and once more this morning with the same result, both at home and at work.",
    "My friend told me that you could help with this, and I could not find anything about it on your pages at all.",
)
CHANGES: Mapping[str, Callable[[str], str]] = {
    "typos": _typos,
    "capitals": lambda text: casing(text) or text,
    "longer texts": _longer,
    "half texts": _half,
}


def _chinese() -> list[str]:
    content = json.loads((ROOT / "examples" / "chinese_questions" / "test.json").read_text(encoding="utf-8"))
    return [asked["question"] for each in content["data"] for part in each["paragraphs"] for asked in part["qas"]][
        :CHANGED
    ]


def _restaurants() -> list[str]:
    lines = (ROOT / "examples" / "restaurant_bookings" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines[:CHANGED]]
