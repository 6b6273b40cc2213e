"""Small models and bundles for the tests of bundling, proving and serving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.config import Data, Model, RunConfig, Serving
from components.models.golden import shown
from components.models.inference import Predictor
from components.models.model_directory import GoldenRow, Manifest, read_manifest, write_golden, write_manifest
from components.records import RegisteredVersion
from components.serving.releases import MODEL, RELEASE, Release
from components.settings import Settings, read_settings
from components.task_types import Spec, find_task_type
from tests.tiny_model import build_tiny_base

LABELS = ("balance", "card", "refund")
TEXTS = ("where is my card", "i want my money back", "how much is left", "你好", "please help me with the payment " * 9)


def tiny_settings(folder: Path) -> Settings:
    return read_settings({"REBERT_HOME": "home"}, folder)


def tiny_config(name: str = "support", **serving: object) -> RunConfig:
    return RunConfig(
        name=name,
        description="Which desk a request goes to.",
        data=Data(train=("train.csv",)),
        model=Model(base="tiny"),
        serving=Serving(port=0, **serving),
    )


def build_model(folder: Path, seed: int = 0, pairs: bool = False, labels: Sequence[str] = LABELS) -> Path:
    """A model directory with random weights and true golden rows."""
    import torch
    from transformers import AutoTokenizer

    base = build_tiny_base(folder / "base", seed)
    model = folder / "model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = find_task_type("text_classification").build_network(base, Spec(tuple(labels), 64, 16))
        network.classifier.weight.data *= 40  # so that the answers differ visibly
    network.save_pretrained(model)
    AutoTokenizer.from_pretrained(base).save_pretrained(model)
    write_manifest(model, _manifest(labels))
    rows = [{"text": text, **({"text_pair": "it is a card"} if pairs else {})} for text in TEXTS]
    predictor = Predictor.load(model)
    answers = shown(predictor, predictor.predict(rows))
    write_golden(model, [GoldenRow(row=row, answer=answer) for row, answer in zip(rows, answers, strict=True)])
    write_manifest(model, read_manifest(model))
    return model


def _manifest(labels: Sequence[str]) -> Manifest:
    return Manifest(
        name="support",
        task_type="text_classification",
        labels=tuple(labels),
        max_length=64,
        window_overlap=16,
        base_model="tiny",
        base_model_digest="0" * 64,
        data_digest="0" * 64,
        train_rows=100,
        code_digest="0" * 64,
        validation_metrics={"accuracy": 0.9},
    )


def registered(config: RunConfig, version: int, digest: str = "0" * 64) -> RegisteredVersion:
    return RegisteredVersion(config.name, version, f"run{version}", digest, created=True)


def build_source(folder: Path, model: Path, config: RunConfig, version: int = 1) -> Path:
    """A bundle's `src` folder without BentoML: `folder/src` with the model and its release."""
    import shutil

    from components.digests import canonical
    from components.models.model_directory import model_digest

    source = folder / "src"
    shutil.copytree(model, source / MODEL)
    release = Release(
        name=config.name,
        version=version,
        run_id=f"run{version}",
        model_digest=model_digest(model),
        description=config.description,
        metrics={"accuracy": 0.91},
        decision="Better by 2 points.",
        serving=config.serving,
    )
    (source / RELEASE).write_text(canonical(release.model_dump(mode="json")), encoding="utf-8")
    return source
