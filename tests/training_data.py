"""A small validated data set that a tiny model can learn, its tokens, and run settings for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.digests import digest_file, digest_of
from components.models.base_models import resolve_base_model
from components.records import BaseModel, TokenizedDataset, ValidatedDataset
from components.training.fine_tuning import train_model
from components.training.tokenization import tokenize_dataset

LABELS = ("card", "hotel", "movie")
WORDS = {
    "card": ["card", "bank", "money", "transfer", "payment", "cash", "pin", "debit", "credit", "account"],
    "hotel": ["hotel", "room", "city", "trip", "place", "night", "service", "open", "close"],
    "movie": ["movie", "film", "watch", "love", "look", "great", "best", "worst", "price"],
}
FILLERS = ["i", "the", "my", "is", "was", "it", "very", "really", "and", "so", "please", "how", "what", "about", "this"]


def rows_of(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of 2 to 20 words, three of ten from their label's own."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        words = [draw.choice(WORDS[label] if draw.random() < 0.4 else FILLERS) for _ in range(draw.randint(2, 20))]
        rows.append({"row_id": f"made.csv:{number + 2}", "text": " ".join([*words, draw.choice(WORDS[label])])})
        rows[-1]["label"] = label
    return rows


def write_dataset(folder: Path, splits: dict[str, list[dict[str, str]]], labels: tuple[str, ...]) -> ValidatedDataset:
    """A validated data set of these rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    digest = digest_of({split: digest_file(folder / f"{split}.parquet") for split in splits})
    return ValidatedDataset(folder, digest, {split: len(rows) for split, rows in splits.items()}, labels, 0, {}, ())


def small_dataset(folder: Path, train: int = 96, validation: int = 30) -> ValidatedDataset:
    """Learnable rows with three labels."""
    splits = {"train": rows_of(train, 1), "validation": rows_of(validation, 2), "test": rows_of(30, 3)}
    return write_dataset(folder, splits, LABELS)


def small_config(base: Path, max_length: int = 64, **training: Any) -> RunConfig:
    """Settings under which the tiny model learns the small data set."""
    chosen = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", "device": "cpu", **training}
    content = {
        "name": "small",
        "data": {"train": "made.csv"},
        "model": {"base": str(base), "max_length": max_length},
        "training": chosen,
    }
    return RunConfig.model_validate(content)


def small_job(
    folder: Path, base: Path, **training: Any
) -> tuple[RunConfig, TokenizedDataset, BaseModel, ValidatedDataset]:
    """The first four arguments of `train_model`."""
    dataset = small_dataset(folder / "data")
    config = small_config(base, **training)
    model = resolve_base_model(str(base), folder)
    return config, tokenize_dataset(config, dataset, model, folder / "tokens"), model, dataset


def train_small(
    folder: Path, base: Path, splits: dict[str, list[dict[str, str]]], labels: tuple[str, ...], **content: Any
) -> Path:
    """The model directory that rows of any task type make of a base; the rows lie in `folder/data`."""
    config = RunConfig.model_validate(
        {"name": "small", "data": {"train": "made.jsonl"}, "model": {"base": str(base), "max_length": 24}, **content}
    )
    dataset, model = write_dataset(folder / "data", splits, labels), resolve_base_model(str(base), folder)
    tokens = tokenize_dataset(config, dataset, model, folder / "tokens")
    return train_model(config, tokens, model, dataset, folder / "training").folder
