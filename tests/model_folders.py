"""Model directories without training: a tiny base model with a random head."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.models.golden import shown
from components.models.inference import Predictor
from components.models.model_directory import GOLDEN, GoldenRow, Manifest, read_manifest, write_golden, write_manifest
from components.task_types import find_task_type

LABELS = ("bad", "good", "很好")
TEXTS = ("good food, very good", "the room was bad", "酒店很好", "")


def build_model(
    folder: Path,
    base: Path,
    *,
    name: str = "shop",
    labels: tuple[str, ...] = LABELS,
    task_type: str = "text_classification",
    chosen: Mapping[str, Any] | None = None,
    pairs: bool = False,
) -> Path:
    """Write a model directory whose golden rows are its own answers; `chosen` are settings of its type."""
    import torch
    from transformers import AutoTokenizer

    kind = find_task_type(task_type)
    manifest = Manifest(
        name=name,
        task_type=task_type,
        labels=labels if kind.has_labels else (),
        max_length=64,
        window_overlap=16,
        settings=dict(kind.settle(kind.settings.model_validate(chosen or {}).model_dump(mode="json"), base)),
        base_model="tiny",
        base_model_digest="b" * 64,
        data_digest="d" * 64,
        train_rows=100,
        code_digest="c" * 64,
        validation_metrics={"accuracy": 0.5},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = kind.build_network(base, manifest.spec)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(folder)
    write_manifest(folder, manifest)
    rows = [{name: text for name in kind.texts if pairs or name != "text_pair"} for text in TEXTS]
    predictor = Predictor.load(folder)
    answers = shown(predictor, predictor.predict(rows))
    golden = [GoldenRow(row=row, answer=answer) for row, answer in zip(rows, answers, strict=True)]
    write_golden(folder, golden)
    write_manifest(folder, manifest)
    return folder


def another_model(folder: Path, model: Path, **changed: Any) -> Path:
    """A copy of a model directory that counts as another model: its manifest says something else."""
    shutil.copytree(model, folder)
    manifest = read_manifest(folder)
    assert (folder / GOLDEN).exists()
    write_manifest(folder, manifest.model_copy(update=changed))
    return folder
