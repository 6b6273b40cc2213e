"""An evaluation in another process, which has torch at hand; what it prints is in `evaluation.log`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.behaviour.templates import read_cases
from components.config import Evaluation
from components.processes.compute_process import ComputeProcess
from components.processes.orders import ProgressListener, computing_order
from components.records import EvaluationReport


def evaluate_in_process(
    process: ComputeProcess,
    model: Path,
    test_file: Path,
    settings: Evaluation,
    folder: Path,
    *,
    device: str,
    behaviour: Sequence[Path] = (),
) -> EvaluationReport:
    """What `evaluate_model` makes, made in another process.

    Args:
        behaviour: files of the run file's own behavioural checks.

    Raises:
        TrainingError: it took more than four hours, or the system killed the process.
        DataError: a file of checks is not as it should be.
    """
    content = {
        "model": str(model),
        "test_file": str(test_file),
        "settings": settings.model_dump(mode="json"),
        "device": device,
        "behaviour": [str(path) for path in behaviour],
    }
    order = computing_order(
        f"{__name__}:evaluate",
        content,
        "The evaluation",
        "evaluation.log",
        "use fewer frozen rows or behavioural checks, or a faster machine.",
    )
    return process.do(order, folder, EvaluationReport)


def evaluate(job: Mapping[str, Any], _: ProgressListener | None) -> EvaluationReport:
    """The work in the other process."""
    from components.reports.evaluation import evaluate_model

    return evaluate_model(
        Path(job["model"]),
        Path(job["test_file"]),
        Evaluation.model_validate(job["settings"]),
        Path(job["folder"]),
        device=job["device"],
        cases=read_cases([Path(path) for path in job["behaviour"]]),
    )
