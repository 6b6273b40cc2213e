"""The data of a run as MLflow knows data: each split, and the corrections, with source, digest and columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.digests import digest_file, digest_of
from components.records import SPLITS, Split, ValidatedDataset
from components.registry.registration import SHORT_DIGEST
from components.registry.store import mlflow_errors
from components.settings import Settings
from components.tracking.places import place_of

LONGEST_SOURCE = 65_535  # bytes in MLflow's database
NAMES_OF_CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}


@mlflow_errors
def log_dataset(settings: Settings, run_id: str, dataset: ValidatedDataset) -> None:
    """Name the data of a run: each split with its files, rows and digest, and the report of the validation."""
    from mlflow.entities import DatasetInput, InputTag

    place = place_of(settings, run_id)
    inputs = [
        DatasetInput(_dataset(dataset, split), [InputTag("mlflow.data.context", NAMES_OF_CONTEXTS[split])])
        for split in SPLITS
        if dataset.rows.get(split)
    ]
    if dataset.feedback:
        inputs.append(DatasetInput(_feedback(dataset), [InputTag("mlflow.data.context", "feedback")]))
    place.client.log_inputs(run_id, inputs)
    splits = {dataset.split_file(split) for split in SPLITS}
    for path in sorted(dataset.folder.iterdir()):
        if path not in splits:
            place.upload(path, f"validation/{path.name}" if path.is_dir() else "validation")


def _dataset(dataset: ValidatedDataset, split: Split) -> Any:
    from mlflow.entities import Dataset

    return Dataset(
        name=split,
        digest=digest_file(dataset.split_file(split))[:SHORT_DIGEST],
        source_type="local",
        source=_source(dataset.source_digests),
        schema=_schema(dataset.split_file(split)),
        profile=json.dumps({"num_rows": dataset.rows[split], "labels": len(dataset.labels)}),
    )


def _feedback(dataset: ValidatedDataset) -> Any:
    """The corrections among the training rows: their files, and what became of them; `feedback.jsonl` has each."""
    from mlflow.entities import Dataset

    lines = (dataset.folder / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    named = {json.loads(line)["file"] for line in lines}
    return Dataset(
        name="feedback",
        digest=digest_file(dataset.folder / "feedback.jsonl")[:SHORT_DIGEST],
        source_type="local",
        source=_source({name: digest for name, digest in dataset.source_digests.items() if name in named}),
        profile=json.dumps({"num_rows": dataset.feedback["used"], **dataset.feedback}),
    )


def _source(digests: Mapping[str, str]) -> str:
    """The files with their digests; of very many only how many they are and one digest of all."""
    named = json.dumps({"files": dict(digests)}, ensure_ascii=False)
    if len(named.encode()) <= LONGEST_SOURCE:
        return named
    return json.dumps({"file_count": len(digests), "digest": digest_of(dict(digests))})


def _schema(parquet: Path) -> str:
    import pyarrow.parquet as pq
    from mlflow.types import ColSpec, Schema

    return json.dumps(
        {"mlflow_colspec": Schema([ColSpec("string", name) for name in pq.read_schema(parquet).names]).to_dict()}
    )
