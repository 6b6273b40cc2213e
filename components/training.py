"""Fine-tuning: tokens and a base model in, a complete model directory out.

A killed training goes on from its last whole checkpoint when it is called again with the same folder, and ends with the
same weights on a CPU. The checkpoints are removed once the model directory is whole.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.checkpoints import find_whole_checkpoint
from components.config import RunConfig
from components.devices import DeviceChoice, choose_device
from components.digests import digest_code
from components.golden_rows import golden_rows
from components.model_directory import Manifest, write_golden, write_manifest
from components.records import BaseModel, TokenizedDataset, TrainedModel, ValidatedDataset
from components.task_types import Row, TaskType, find_task_type
from components.trainable_network import class_weights, freeze, speed_up
from components.training_errors import translated_errors
from components.training_history import HISTORY, History, Progress

if TYPE_CHECKING:
    from components.fine_tuner import FineTuner

MODEL = "model"
CHECKPOINTS = "checkpoints"

log = logging.getLogger("rebert.training")


@dataclass(frozen=True, slots=True)
class _Job:
    """What every part of one training needs."""

    config: RunConfig
    tokens: TokenizedDataset
    base: BaseModel
    dataset: ValidatedDataset
    folder: Path
    task_type: TaskType
    choice: DeviceChoice


def train_model(
    config: RunConfig,
    tokens: TokenizedDataset,
    base: BaseModel,
    dataset: ValidatedDataset,
    folder: Path,
    progress: Callable[[Progress], None] | None = None,
) -> TrainedModel:
    """The fine-tuned model with the best validation score, as a model directory `folder/model`.

    Args:
        folder: holds `model`, `history.jsonl` and, while the training runs, `checkpoints`.
        progress: called after each logged step.

    Raises:
        TrainingError: memory ran out, the loss is not a number, or the device is not there.
        StorageError: the disk is full.
    """
    job = _Job(config, tokens, base, dataset, folder, find_task_type(config.task_type), choose_device(config.training))
    began = time.monotonic()
    with translated_errors(job.config.training, tokens.max_length, job.choice.device):
        folder.mkdir(parents=True, exist_ok=True)
        tuner, tokenizer = _prepare(job, progress)
        trained = _train(job, tuner)
        digest, metrics = _write_model(job, tuner, tokenizer)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return TrainedModel(
        folder=folder / MODEL,
        digest=digest,
        history=folder / HISTORY,
        device=job.choice.device,
        precision=job.choice.precision,
        best_epoch=round(tuner.best.epoch, 4),
        seconds=round(time.monotonic() - began, 3),
        samples_per_second=trained,
        validation_metrics=metrics,
    )


def _prepare(job: _Job, progress: Callable[[Progress], None] | None) -> tuple[FineTuner, Any]:
    import torch
    from transformers import set_seed

    from components.fine_tuner import FineTuner, training_arguments
    from components.token_table import TokenTable
    from components.tokenization import load_tokenizer

    training, task_type = job.config.training, job.task_type
    set_seed(training.seed)
    tokenizer = load_tokenizer(job.base)
    network = task_type.build_network(job.base.folder, job.dataset.labels)
    freeze(network, training.freeze)
    tables = {split: TokenTable.of_split(job.tokens, split, tokenizer) for split in ("train", "validation")}
    device = job.choice.device
    weights = class_weights(training, tables["train"].targets, len(job.dataset.labels), device)
    masks = speed_up(network, training, device, tables, tokenizer.all_special_ids)
    truth = [row["label"] for row in _rows(job)]
    labels = job.dataset.labels

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return task_type.loss(logits, targets, training, weights)

    def score(logits: Any) -> dict[str, float]:
        found = task_type.metrics(truth, task_type.probabilities(logits, 1.0), labels)
        return {"loss": task_type.log_loss(logits, tables["validation"].targets, 1.0), **found}

    checkpoints = job.folder / CHECKPOINTS
    tuner = FineTuner(
        network,
        training_arguments(training, checkpoints, device, job.choice.precision, len(tables["train"])),
        training=training,
        loss=loss,
        tables=tables,
        score=score,
        metric=job.config.evaluation.metric,
        history=History(job.folder / HISTORY, progress),
        masks=masks,
    )
    return tuner, tokenizer


def _rows(job: _Job) -> list[Row]:
    """The validation rows, with the project's column names."""
    import pyarrow.parquet as pq

    columns = list(job.task_type.columns(job.config.data.columns))
    rows: list[Row] = pq.read_table(job.dataset.split_file("validation"), columns=columns).to_pylist()
    return rows


def _train(job: _Job, tuner: FineTuner) -> float:
    """Run the training, from the last whole checkpoint if there is one; returns its rows a second."""
    checkpoint = find_whole_checkpoint(job.folder / CHECKPOINTS)
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    tuner.history.go_back_to(step)
    log.info("%s", job.choice.reason)
    if checkpoint is not None:
        log.info("going on from step %d", step)
        tuner.best.load(checkpoint)
    began = time.monotonic()
    if not tuner.best.exhausted:
        tuner.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    tuner.best.restore()
    rows = (tuner.state.global_step - step) * job.config.training.batch_size * job.config.training.accumulation_steps
    return float(round(rows / (time.monotonic() - began), 2))


def _write_model(job: _Job, tuner: FineTuner, tokenizer: Any) -> tuple[str, Mapping[str, float]]:
    """Write the model directory; returns its digest and the validation metrics of what it holds."""
    from components.calibration import fit_temperature
    from components.inference import Predictor
    from components.trimmed_embedding import restore_embeddings

    folder, task_type, labels = job.folder / MODEL, job.task_type, job.dataset.labels
    network = tuner.accelerator.unwrap_model(tuner.model, keep_fp32_wrapper=False).eval()
    restore_embeddings(network)
    shutil.rmtree(folder, ignore_errors=True)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = _manifest(job)
    table = tuner.tables["validation"]
    logits = Predictor(network, tokenizer, manifest).logits_of(table.features())
    temperature = fit_temperature(lambda value: task_type.log_loss(logits, table.targets, value))
    rows = _rows(job)
    metrics = task_type.metrics([row["label"] for row in rows], task_type.probabilities(logits, temperature), labels)
    manifest = manifest.model_copy(update={"temperature": temperature, "validation_metrics": metrics})
    write_golden(folder, golden_rows(Predictor(network, tokenizer, manifest), rows, table.lengths))
    return write_manifest(folder, manifest), metrics


def _manifest(job: _Job) -> Manifest:
    return Manifest(
        name=job.config.name,
        task_type=job.config.task_type,
        labels=job.dataset.labels,
        max_length=job.config.model.max_length,
        base_model=job.base.spec,
        base_model_digest=job.base.digest,
        data_digest=job.dataset.digest,
        train_rows=job.tokens.rows["train"],
        code_digest=digest_code("components.training", f"components.task_types.{job.config.task_type}"),
        validation_metrics={},
    )
