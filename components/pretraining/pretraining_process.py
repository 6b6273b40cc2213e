"""A phase of a pretraining in a child process, or in several under torch's elastic launcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.pretraining.pretraining import PhaseJob, pretrain_phase
from components.pretraining_config import PretrainingConfig
from components.processes.compute_process import ComputeProcess
from components.processes.elastic import Launch, do_together
from components.processes.orders import ProgressListener, record
from components.records import BaseModel, PretrainingExamples, TrainedModel, ValidatedDataset, as_json
from components.settings import Settings
from components.training.training_process import training_order

WORK = "components.pretraining.pretraining_process:pretrain"


def pretrain_in_process(
    job: PhaseJob, *, settings: Settings | None = None, on_progress: ProgressListener | None = None
) -> TrainedModel:
    """What `pretrain_phase` makes, made in a child process within `training.max_hours`.

    Raises:
        TrainingError: the time was up, the system killed the process, or the training itself failed.
        StorageError: the disk is full.
    """
    config, launch = job.config, job.config.launch
    content = {
        "config": config.model_dump(mode="json"),
        "config_folder": str(config.folder),
        "number": job.number,
        "start": str(job.start) if job.start else None,
        "examples": as_json(job.examples),
        "base": as_json(job.base),
        "dataset": as_json(job.dataset),
    }
    training = config.fine_tuning_settings(job.phase)
    together = Launch(launch.processes, launch.nodes, launch.rendezvous, launch.restarts)
    order = training_order(WORK, config.name, training, content)
    if not together.alone:
        return do_together(order, together, training, job.folder, TrainedModel, settings, on_progress)
    with ComputeProcess(training, settings) as process:
        return process.do(order, job.folder, TrainedModel, on_progress)


def pretrain(job: Mapping[str, Any], progress: ProgressListener | None) -> TrainedModel:
    """The work of the child."""
    return pretrain_phase(
        PhaseJob(
            config=PretrainingConfig.model_validate({**job["config"], "folder": job["config_folder"]}),
            number=job["number"],
            examples=record(PretrainingExamples, job["examples"]),
            base=record(BaseModel, job["base"]),
            dataset=record(ValidatedDataset, job["dataset"]),
            start=Path(job["start"]) if job["start"] else None,
            folder=Path(job["folder"]),
        ),
        progress,
    )
