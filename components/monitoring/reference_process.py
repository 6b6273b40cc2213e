"""The measuring of a reference in another process, which has the engine's libraries at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.monitoring.reference import Reference, make_reference
from components.processes.compute_process import ComputeProcess
from components.processes.orders import ProgressListener, computing_order


def make_reference_in_process(
    process: ComputeProcess, model: Path, engine: str, engine_folder: Path | None, rows_file: Path, folder: Path
) -> Reference:
    """What `make_reference` makes, made in another process.

    Args:
        engine_folder: the built engine that serves; None where torch does.

    Raises:
        TrainingError: it took more than four hours, or the system killed the process.
    """
    content = {
        "model": str(model),
        "engine": engine,
        "engine_folder": str(engine_folder) if engine_folder else None,
        "rows_file": str(rows_file),
    }
    order = computing_order(
        f"{__name__}:measure",
        content,
        "The monitor's look at the frozen rows",
        "reference.log",
        "use a faster machine.",
    )
    return process.do(order, folder, Reference)


def measure(job: Mapping[str, Any], _: ProgressListener | None) -> Reference:
    """The work in the other process."""
    from components.models.inference import open_predictor
    from components.training.devices import usable_threads

    model, built = Path(job["model"]), Path(job["engine_folder"]) if job["engine_folder"] else None
    predictor = open_predictor(model, built, usable_threads())
    return make_reference(predictor, model, job["engine"], Path(job["rows_file"]), Path(job["folder"]))
