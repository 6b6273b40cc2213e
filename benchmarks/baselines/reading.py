"""What both baseline scripts share and what is not timed: options, reading the CSV files, the test score."""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path
from typing import Any

import torch


def parse_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder with train, validation and test.csv")
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--rows", type=int, help="training rows, drawn at random; all without it")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--scratch", default="/tmp/plain_trainer")  # noqa: S108
    return parser.parse_args()


def read_rows(options: argparse.Namespace) -> tuple[dict[str, dict[str, list[str]]], dict[str, int]]:
    """Texts and labels of each split, and the number of each label; the drawn rows are the same for every system."""
    splits = {}
    for split in ("train", "validation", "test"):
        with (options.data / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if split == "train":
            labels = {label: number for number, label in enumerate(sorted({row["label"] for row in rows}))}
            if options.rows:
                rows = random.Random(0).sample(rows, options.rows)
        splits[split] = {name: [row[name] for row in rows] for name in ("text", "label")}
    return splits, labels


def evaluate_test(model: Any, tokenizer: Any, rows: dict[str, list[str]], labels: dict[str, int]) -> float:
    """Accuracy on the test rows in float32."""
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(rows["text"]), 64):
            inputs = tokenizer(rows["text"][start : start + 64], padding=True, truncation=True, return_tensors="pt")
            found = model(**inputs.to(model.device)).logits.argmax(-1).tolist()
            wanted = [labels[label] for label in rows["label"][start : start + 64]]
            right += sum(a == b for a, b in zip(found, wanted, strict=True))
    return right / len(rows["text"])
