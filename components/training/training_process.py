"""Tokenizing and fine-tuning in another process; what it prints is in `tokenization.log` and `training.log`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.config import RunConfig, Training
from components.processes.compute_process import ComputeProcess
from components.processes.orders import Order, ProgressListener, computing_order, record
from components.records import BaseModel, TokenizedDataset, TrainedModel, ValidatedDataset, as_json
from components.settings import Settings

LOG = "training.log"


def tokenize_in_process(
    process: ComputeProcess, config: RunConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path
) -> TokenizedDataset:
    """What `tokenize_dataset` makes, made in another process.

    Raises:
        TrainingError: it took more than four hours, or the system killed the process.
        BaseModelError: the tokenizer cannot be loaded, or does not fit the model.
    """
    order = computing_order(
        f"{__name__}:tokenize",
        _content(config, base=base, dataset=dataset),
        f"Tokenizing the data of '{config.name}'",
        "tokenization.log",
        "use fewer rows, or a faster machine.",
    )
    return process.do(order, folder, TokenizedDataset)


def tokenize(job: Mapping[str, Any], _: ProgressListener | None) -> TokenizedDataset:
    """The work in the other process."""
    from components.training.tokenization import tokenize_dataset

    dataset, base = record(ValidatedDataset, job["dataset"]), record(BaseModel, job["base"])
    return tokenize_dataset(_config(job), dataset, base, Path(job["folder"]))


def train_in_process(
    config: RunConfig,
    tokens: TokenizedDataset,
    base: BaseModel,
    dataset: ValidatedDataset,
    folder: Path,
    *,
    process: ComputeProcess | None = None,
    settings: Settings | None = None,
    on_progress: ProgressListener | None = None,
) -> TrainedModel:
    """What `train_model` makes, made in another process within `training.max_hours`.

    Args:
        process: the one to do it, which may go on with other work; None for one that ends with the training.
        settings: where folders are, for a process that is started here.

    Raises:
        TrainingError: the time was up, the system killed the process, or the training itself failed.
        StorageError: the disk is full.
    """
    content = _content(config, tokens=tokens, base=base, dataset=dataset)
    order = training_order(f"{__name__}:fine_tune", config.name, config.training, content)
    if process is not None:
        return process.do(order, folder, TrainedModel, on_progress)
    with ComputeProcess(config.training, settings) as own:
        return own.do(order, folder, TrainedModel, on_progress)


def training_order(work: str, name: str, training: Training, content: Mapping[str, Any]) -> Order:
    """The order for a training of the model `name`."""
    return Order(
        work=work,
        content=content,
        subject=f"The training of '{name}'",
        max_hours=training.max_hours,
        limit=f"training.max_hours, {training.max_hours:g}",
        when_late="raise training.max_hours or lower training.epochs; "
        "the same settings go on from the last checkpoint.",
        when_killed="halve training.batch_size and double training.accumulation_steps, or lower model.max_length.",
        log=LOG,
        trains=True,
    )


def fine_tune(job: Mapping[str, Any], progress: ProgressListener | None) -> TrainedModel:
    """The work in the other process."""
    from components.training.fine_tuning import train_model

    tokens, base = record(TokenizedDataset, job["tokens"]), record(BaseModel, job["base"])
    dataset = record(ValidatedDataset, job["dataset"])
    return train_model(_config(job), tokens, base, dataset, Path(job["folder"]), progress)


def _content(config: RunConfig, **records: Any) -> dict[str, Any]:
    own = {"config": config.model_dump(mode="json"), "config_folder": str(config.folder)}
    return own | {name: as_json(value) for name, value in records.items()}


def _config(job: Mapping[str, Any]) -> RunConfig:
    return RunConfig.model_validate({**job["config"], "folder": job["config_folder"]})
