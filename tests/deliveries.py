"""Small deliveries of two easy labels, and a run file for them."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import yaml

THINGS = ("room", "food", "hotel", "book", "film", "service", "card", "phone", "bank", "trip", "price", "place")
GOOD = ("good", "great", "nice", "happy", "best", "love", "fine", "thank")
BAD = ("bad", "poor", "terrible", "sad", "worst", "wrong", "lost", "stolen")
FILLERS = ("the", "my", "this", "that", "very", "so", "just", "really", "even", "still", "today", "again", "was", "is")

Rows = list[tuple[str, str]]


def rows(count: int, seed: int, noise: float = 0.0) -> Rows:
    """Different short texts with the label pos or neg; a share `noise` has the other label."""
    generator = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < count:
        label = generator.choice(("pos", "neg"))
        words = [
            *generator.sample(FILLERS, 4),
            generator.choice(THINGS),
            generator.choice(GOOD if label == "pos" else BAD),
            f"{generator.randrange(10_000)}",
        ]
        generator.shuffle(words)
        flipped = {"pos": "neg", "neg": "pos"}[label] if generator.random() < noise else label
        made.setdefault(" ".join(words), flipped)
    return list(made.items())


def write_csv(path: Path, content: Rows) -> Path:
    """A CSV file with the columns text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(content)
    return path


def write_run_file(folder: Path, base: Path, **changes: object) -> Path:
    """A run file for `folder/week-*.csv` with frozen rows in `folder/test.csv`; `changes` replace whole sections."""
    content = {
        "name": "reviews",
        "data": {"train": "week-*.csv", "test": "test.csv", "split": {"validation": 0.2}},
        "validation": {"min_rows": 20, "label_noise": "warn"},
        "model": {"base": str(base), "max_length": 32},
        "training": {"epochs": 10, "learning_rate": 0.01, "batch_size": 16, "device": "cpu", "precision": "fp32"},
        "evaluation": {
            "bootstrap_samples": 100,
            "slice_by": ["length"],
            "behaviour": {"invariant_to": ["casing"], "rows": 20},
        },
        "gate": {"floor": 0.4},
        "serving": {"port": 0},
        **changes,
    }
    path = folder / "reviews.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
