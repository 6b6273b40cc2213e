"""The look at the training labels in another process, which has torch at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.processes.compute_process import ComputeProcess
from components.processes.orders import ProgressListener, computing_order, record
from components.records import BaseModel, ValidatedDataset, as_json
from components.validation.noisy_rows import LabelNoise


def look_for_noise_in_process(
    process: ComputeProcess, config: RunConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path, device: str
) -> LabelNoise:
    """What `look_for_noise` finds, found in another process.

    Raises:
        RejectedData: there are more wrong labels than the run file allows, and it says stop.
        TrainingError: it took more than four hours, or the system killed the process.
    """
    content = {
        "config": config.model_dump(mode="json"),
        "config_folder": str(config.folder),
        "dataset": as_json(dataset),
        "base": as_json(base),
        "device": device,
    }
    order = computing_order(
        f"{__name__}:look",
        content,
        f"The look for wrong labels of '{config.name}'",
        "label_noise.log",
        "use fewer rows or a faster machine, or set validation.label_noise to off.",
    )
    return process.do(order, folder, LabelNoise)


def look(job: Mapping[str, Any], _: ProgressListener | None) -> LabelNoise:
    """The work in the other process."""
    from components.validation.noisy_rows import look_for_noise

    config = RunConfig.model_validate({**job["config"], "folder": job["config_folder"]})
    dataset, base = record(ValidatedDataset, job["dataset"]), record(BaseModel, job["base"])
    return look_for_noise(config, dataset, base, Path(job["folder"]), job["device"])
