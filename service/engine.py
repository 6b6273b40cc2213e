"""One loaded, verified, warmed-up version of a model, ready to answer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BundleError
from components.models.engines import find_engine
from components.models.golden import check_model
from components.models.inference import Predictor, open_predictor
from components.models.model_directory import Manifest, model_digest, read_golden, verify_model
from components.serving.releases import MODEL, Release, engine_of, read_bundle_release, verify_engine
from components.task_types import Answer, Row
from components.task_types.base import READING
from service.requests import RequestReader, request_reader
from service.row_forms import RowForms, row_forms
from service.schemas import Speech, find_speech

TIMED_ROWS = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """A model version that answers. `source` is the `src` folder of its bundle, `requests` reads its requests.

    `forms` read single rows that shall be explained or are corrected. `seconds_per_cost` is what a character took to
    read when it was loaded.
    """

    source: Path
    release: Release
    manifest: Manifest
    predictor: Predictor
    speech: Speech
    requests: RequestReader
    forms: RowForms
    seconds_per_cost: float

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """What the model says about each row; one call at a time."""
        return self.predictor.predict(rows)

    def cost(self, rows: Sequence[Row]) -> int:
        """What these rows cost, about, in characters that the model reads."""
        return self.predictor.task_type.cost(rows, self.predictor.spec)

    def most_cost(self) -> int:
        """The cost that a request may have: twice what the largest one of plain texts has."""
        limits = self.release.serving
        return 2 * limits.max_texts * (READING + limits.max_characters)

    def present(self, answers: Sequence[Answer], top_k: int) -> list[dict[str, Any]]:
        """The answers as a response shows them."""
        return [self.predictor.task_type.present(answer, top_k) for answer in answers]

    def about(self) -> dict[str, Any]:
        """What `GET /model` says of it."""
        return {
            "name": self.release.name,
            "version": self.release.version,
            "description": self.release.description,
            "run_id": self.release.run_id,
            "task_type": self.manifest.task_type,
            "inputs": list(self.requests.inputs),
            "explains": self.predictor.task_type.explains,
            "labels": list(self.manifest.labels),
            "max_length": self.manifest.max_length,
            "metrics": dict(self.release.metrics),
            "digest": self.release.model_digest,
            "decision": self.release.decision,
            "engine": self.release.engine,
        }


def load_engine(source: Path) -> Engine:
    """The model of the bundle whose `src` folder is given: every file compared with its digest, every golden row asked.

    Raises:
        BundleError: a file is missing or changed, or the model does not give the trainer's answers.
    """
    release, folder, built = read_bundle_release(source), source / MODEL, engine_of(source)
    manifest = verify_model(folder, with_weights=find_engine(release.engine).reads_weights)
    if model_digest(folder) != release.model_digest:
        raise BundleError(f"The model in {source} is not the one that its release names.", "build the bundle again.")
    verify_engine(source, release)
    speech = find_speech(manifest.task_type)
    predictor = open_predictor(folder, built, cores())
    check_model(predictor, built or folder)
    inputs = list(read_golden(folder)[0].row)
    reader = request_reader(speech, release.serving, inputs, predictor.task_type.many)
    forms = row_forms(speech, inputs, manifest.labels, release.serving)
    return Engine(source, release, manifest, predictor, speech, reader, forms, _seconds_per_cost(predictor, folder))


def _seconds_per_cost(predictor: Predictor, folder: Path) -> float:
    """From golden rows that have been asked already: the first time takes longer."""
    rows = [row.row for row in read_golden(folder)[:TIMED_ROWS]]
    began = time.perf_counter()
    predictor.predict(rows)
    return (time.perf_counter() - began) / predictor.task_type.cost(rows, predictor.spec)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores() -> None:
    """Give torch, where it is what computes, as many threads as there are cores, in the calling thread too."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(cores())
