"""What needs torch on the way to a bundle, done in another process that has it at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.processes.compute_process import ComputeProcess
from components.processes.orders import Order, ProgressListener, computing_order, record
from components.records import EvaluationReport, OptimisedModel, ValidatedDataset, as_json
from components.step_store import temporary_folder


@dataclass(frozen=True, slots=True)
class Agreement:
    """By how much a model's scores differ from those of its golden rows."""

    difference: float


def optimise_in_process(
    process: ComputeProcess,
    config: RunConfig,
    model: Path,
    report: EvaluationReport,
    dataset: ValidatedDataset,
    folder: Path,
) -> OptimisedModel:
    """What `optimise_model` makes, made in another process; what it prints is in `engines.log`.

    Raises:
        TrainingError: it took more than four hours, or the system killed the process.
    """
    content = {
        "config": config.model_dump(mode="json"),
        "config_folder": str(config.folder),
        "model": str(model),
        "report": as_json(report),
        "dataset": as_json(dataset),
    }
    order = _order("optimise", f"The choice of an engine for '{config.name}'", content, "engines.log")
    return process.do(order, folder, OptimisedModel)


def optimise(job: Mapping[str, Any], _: ProgressListener | None) -> OptimisedModel:
    """The work in the other process."""
    from components.serving.optimising import optimise_model

    config = RunConfig.model_validate({**job["config"], "folder": job["config_folder"]})
    report, dataset = record(EvaluationReport, job["report"]), record(ValidatedDataset, job["dataset"])
    return optimise_model(config, Path(job["model"]), report, dataset, Path(job["folder"]))


def check_registered_in_process(process: ComputeProcess, model: Path) -> float:
    """What `check_registered` finds, found in another process.

    Raises:
        BundleError: an answer is not the trainer's.
    """
    order = _order("check", "The check of the registered model", {"model": str(model)}, "check.log")
    with temporary_folder() as folder:
        return process.do(order, folder, Agreement).difference


def check(job: Mapping[str, Any], _: ProgressListener | None) -> Agreement:
    """The work in the other process."""
    from components.serving.proving import check_registered

    return Agreement(check_registered(Path(job["model"])))


def _order(work: str, subject: str, content: Mapping[str, Any], log: str) -> Order:
    return computing_order(f"{__name__}:{work}", content, subject, log, "use fewer frozen rows, or a faster machine.")
