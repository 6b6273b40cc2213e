"""The training of a run, alone in one process: what `pipeline.py` measures a whole run against.

    python benchmarks/bare_training.py RUN_FILE HOME FOLDER

Takes the tokens that the run has left in HOME and trains in FOLDER, with the same settings and threads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from components.garbage import collect_rarely
from components.models.base_models import resolve_base_model
from components.records import TokenizedDataset, ValidatedDataset
from components.run_files import read_run_file
from components.settings import apply_settings, read_settings
from components.step_store import Step, StepStore


def main(run_file: Path, home: Path, folder: Path) -> None:
    collect_rarely()
    settings = read_settings({"REBERT_HOME": str(home)}, folder)
    apply_settings(settings)
    from components.training.fine_tuning import train_model

    config = read_run_file(run_file)
    base = resolve_base_model(config.model.base, config.folder, config.model.sha256)
    store = StepStore(settings.steps)
    dataset = finished(store, config.name, "validate", ValidatedDataset)
    tokens = finished(store, config.name, "tokenize", TokenizedDataset)
    train_model(config, tokens, base, dataset, folder)


def finished(store: StepStore, model: str, name: str, record_type: type[Any]) -> Any:
    """The record of the only finished step of that name."""
    [marker] = (store.root / model / name).glob("*/step.json")
    content = json.loads(marker.read_text(encoding="utf-8"))
    record = store.find(Step(name, model, content["parts"]), record_type)
    return TypeAdapter(record_type).validate_python(record)


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:4]))
