"""The deliveries of a simulated model, each with the outcome that it must have, and the run file that they are for.

Whether a text is praise or blame hangs on one of sixteen words. A delivery shows some of them: the frozen rows have
all, so a model of a delivery that shows more words is better by 12 points, and one of as many is not.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

from installation import ROOT  # first: it lets the tests be imported
from yaml import safe_dump

from tests.deliveries import BAD, FILLERS, GOOD, THINGS, Rows, write_csv
from tests.tiny_model import build_tiny_base

assert ROOT  # noqa: S101 - the import above is what counts
NAME = "reviews"
STEP = 2  # words of each label that a better delivery shows more
MOST_WORDS = 8
ROWS, FROZEN_ROWS = 400, 500
ZONE = "Europe/Berlin"
CRON = "30 2 * * sun"  # a time that one Sunday a year does not have and another has twice
ARRIVED = "delivery.arrived"  # the event that has the model run
Kind = Literal["first", "better", "alike", "worse", "nothing", "broken"]


def rows(count: int, seed: int, words: int, flipped: float = 0.0) -> Rows:
    """Different short texts with the label pos or neg, by the first `words` words of each; a share is mislabelled."""
    generator = random.Random(str(seed))  # of the number alone, -1 would be 1
    made: dict[str, str] = {}
    while len(made) < count:
        label = generator.choice(("pos", "neg"))
        telling = generator.choice((GOOD if label == "pos" else BAD)[:words])
        text = [*generator.sample(FILLERS, 4), generator.choice(THINGS), telling, f"{generator.randrange(10_000)}"]
        generator.shuffle(text)
        other = {"pos": "neg", "neg": "pos"}[label]
        made.setdefault(" ".join(text), other if generator.random() < flipped else label)
    return list(made.items())


class Deliveries:
    """Writes a delivery a week; the data's owner keeps the latest alone.

    Args:
        folder: where the run file and its data are.
        changes: sections of the run file that replace the usual ones.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.words = folder, 0
        base = build_tiny_base(folder / "base")
        write_csv(folder / "test.csv", rows(FROZEN_ROWS, seed=-1, words=MOST_WORDS))
        self.run_file = folder / f"{NAME}.yaml"
        self.run_file.write_text(safe_dump(_run_file(base) | changes), encoding="utf-8")

    def deliver(self, kind: Kind, week: int) -> None:
        """Put a delivery in the place of the one before."""
        if kind == "nothing":
            return
        if kind in ("first", "better"):
            self.words = min(self.words + STEP, MOST_WORDS)
        for old in self.folder.glob("week-*.csv"):
            old.unlink()
        file = self.folder / f"week-{week:03d}.csv"
        write_csv(file, rows(ROWS, week, self.words, flipped=0.5 if kind == "worse" else 0.0))
        if kind == "broken":  # a column that somebody renamed
            file.write_text(file.read_text(encoding="utf-8").replace("text,label", "text,sentiment"), encoding="utf-8")


def _run_file(base: Path) -> dict[str, Any]:
    return {
        "name": NAME,
        "description": "Praise or blame, in the simulated year.",
        "data": {"train": "week-*.csv", "test": "test.csv", "split": {"validation": 0.2}},
        "validation": {"min_rows": 20},
        "model": {"base": str(base), "max_length": 32},
        "training": {
            "epochs": 8,
            "early_stopping_patience": None,  # a network of this size may look for three epochs and then learn it all
            "learning_rate": 0.003,
            "batch_size": 16,
            "device": "cpu",
            "precision": "fp32",
        },
        "evaluation": {"bootstrap_samples": 100},
        "gate": {"floor": 0.4, "margin": 0.02},
        "schedule": {"cron": CRON, "timezone": ZONE},
        # Shorter than a run: what an event asks for while one is at work comes after it.
        "triggers": {"events": [ARRIVED], "cooldown_minutes": 0.2},
        "serving": {"port": 0, "engine": "openvino"},
        "retention": {"keep": 2},
    }
