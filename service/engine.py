"""One loaded, verified, warmed-up version of a model, ready to answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.errors import BundleError
from components.golden import check_model
from components.inference import Predictor
from components.model_directory import Manifest, model_digest, read_golden, verify_model
from components.releases import MODEL, Release, read_bundle_release
from components.task_types import Answer, Row
from service.schemas import SCHEMAS, TaskSchemas


@dataclass(frozen=True, slots=True)
class Engine:
    """A model version that answers. `source` is the `src` folder of its bundle, `request` reads its requests."""

    source: Path
    release: Release
    manifest: Manifest
    predictor: Predictor
    schemas: TaskSchemas
    request: type[BaseModel]

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """What the model says about each row; one call at a time."""
        return self.predictor.predict(rows)

    def about(self) -> dict[str, Any]:
        """What `GET /model` says of it."""
        return {
            "name": self.release.name,
            "version": self.release.version,
            "description": self.release.description,
            "run_id": self.release.run_id,
            "task_type": self.manifest.task_type,
            "pairs": "text_pair" in self.request.model_fields,
            "labels": list(self.manifest.labels),
            "max_length": self.manifest.max_length,
            "metrics": dict(self.release.metrics),
            "digest": self.release.model_digest,
            "decision": self.release.decision,
        }


def load_engine(source: Path) -> Engine:
    """The model of the bundle whose `src` folder is given: every file compared with its digest, every golden row asked.

    Raises:
        BundleError: a file is missing or changed, or the model does not give the trainer's answers.
    """
    release, folder = read_bundle_release(source), source / MODEL
    manifest = verify_model(folder)
    if model_digest(folder) != release.model_digest:
        raise BundleError(f"The model in {source} is not the one that its release names.", "build the bundle again.")
    if manifest.task_type not in SCHEMAS:
        raise BundleError(f"The endpoint cannot speak {manifest.task_type}.", f"use one of: {', '.join(SCHEMAS)}.")
    predictor = Predictor.load(folder)
    check_model(predictor, folder)
    pairs = "text_pair" in read_golden(folder)[0].row
    schemas = SCHEMAS[manifest.task_type]
    return Engine(source, release, manifest, predictor, schemas, schemas.request(release.serving, pairs))


def use_cores() -> int:
    """Give torch as many threads as this process may use cores, in the calling thread too; returns their number."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    return cores
