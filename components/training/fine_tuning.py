"""Fine-tuning: tokens and a base model in, a complete model directory out.

A killed training goes on from its last whole checkpoint when it is called again with the same folder, and ends with the
same weights on a CPU. The checkpoints are removed once the model directory is whole.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import RunConfig
from components.digests import digest_code
from components.models.model_directory import Manifest, write_golden, write_manifest
from components.records import BaseModel, TokenizedDataset, TrainedModel, ValidatedDataset
from components.task_types import Spec, TaskType, find_task_type
from components.training.checkpoints import find_whole_checkpoint
from components.training.devices import DeviceChoice, choose_device
from components.training.golden_rows import golden_rows
from components.training.tokenization import load_tokenizer, read_split, spec_of
from components.training.trainable_network import freeze, speed_up
from components.training.training_errors import translated_errors
from components.training.training_history import HISTORY, History, Progress

if TYPE_CHECKING:
    from components.training.fine_tuner import FineTuner
    from components.training.token_table import TokenTable

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
    spec: Spec
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
    task_type, spec = find_task_type(config.task_type), spec_of(config, base, dataset)
    job = _Job(config, tokens, base, dataset, folder, task_type, spec, choose_device(config.training))
    began = time.monotonic()
    with translated_errors(job.config.training, tokens.max_length, job.choice.device):
        folder.mkdir(parents=True, exist_ok=True)
        learned = _learn(job, progress) if task_type.trains else _adopt(job)
        digest, metrics = _write_model(job, learned)
        if not task_type.trains:
            _tell_of_adoption(job, metrics)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return TrainedModel(
        folder=folder / MODEL,
        digest=digest,
        history=folder / HISTORY,
        device=job.choice.device,
        precision=job.choice.precision if task_type.trains else "fp32",
        best_epoch=round(learned.epoch, 4),
        seconds=round(time.monotonic() - began, 3),
        samples_per_second=learned.rows_a_second,
        validation_metrics=metrics,
    )


@dataclass(frozen=True, slots=True)
class _Learned:
    """A network that is ready to be written, with the windows of the validation rows.

    `spec` holds what the training rows have said, before anything is fitted.
    """

    network: Any
    tokenizer: Any
    table: TokenTable
    spec: Spec
    epoch: float = 0.0
    rows_a_second: float = 0.0


def _learn(job: _Job, progress: Callable[[Progress], None] | None) -> _Learned:
    tuner, tokenizer, job = _prepare(job, progress)
    rows_a_second = _train(job, tuner)
    network = tuner.accelerator.unwrap_model(tuner.model, keep_fp32_wrapper=False)
    return _Learned(network, tokenizer, tuner.tables["validation"], job.spec, tuner.best.epoch, rows_a_second)


def _adopt(job: _Job) -> _Learned:
    """The base model as it is, for a type that learns nothing."""
    from components.training.token_table import TokenTable

    tokenizer = load_tokenizer(job.base)
    network = job.task_type.build_network(job.base.folder, job.spec).to(job.choice.device)
    table = TokenTable.of_split(job.tokens, "validation", job.task_type, tokenizer)
    return _Learned(network, tokenizer, table, job.spec)


def _tell_of_adoption(job: _Job, metrics: Mapping[str, float]) -> None:
    """A history of one line, so that MLflow has the score where it always is."""
    history = History(job.folder / HISTORY, None)
    history.go_back_to(-1)
    history.add(1, 1.0, {f"validation_{name}": value for name, value in metrics.items()})


def _prepare(job: _Job, progress: Callable[[Progress], None] | None) -> tuple[FineTuner, Any, _Job]:
    """The trainer, the tokenizer, and the job with what the training rows say."""
    import torch
    from transformers import set_seed

    from components.training.fine_tuner import FineTuner, training_arguments
    from components.training.token_table import TokenTable

    training, task_type, device = job.config.training, job.task_type, job.choice.device
    set_seed(training.seed)
    tokenizer = load_tokenizer(job.base)
    tables = {split: TokenTable.of_split(job.tokens, split, task_type, tokenizer) for split in ("train", "validation")}
    job = replace(job, spec=replace(job.spec, fitted=task_type.start(tables["train"].drawn_targets, job.spec)))
    network = task_type.build_network(job.base.folder, job.spec)
    freeze(network, training.freeze)
    weights = (
        task_type.weights(tables["train"].drawn_targets, job.spec) if training.class_weights == "balanced" else None
    )
    masks = speed_up(network, training, device, tables, tokenizer.all_special_ids)
    tuner = FineTuner(
        network,
        training_arguments(training, job.folder / CHECKPOINTS, device, job.choice.precision, tables["train"].drawn),
        training=training,
        task_type=task_type,
        spec=job.spec,
        tokenizer=tokenizer,
        weights=None if weights is None else torch.from_numpy(weights).to(device),
        tables=tables,
        score=_scorer(job, tables["validation"]),
        metric=job.config.evaluation.metric,
        history=History(job.folder / HISTORY, progress),
        masks=masks,
    )
    return tuner, tokenizer, job


def _scorer(job: _Job, table: TokenTable) -> Callable[[list[Any]], dict[str, float]]:
    """What an evaluation makes of the validation windows' outputs."""
    rows, windows = read_split(job.dataset, "validation", job.task_type), table.windows()
    truths = [row.get("label", "") for row in rows]

    def score(outputs: list[Any]) -> dict[str, float]:
        combined = job.task_type.combine(rows, windows, outputs, job.spec)
        return job.task_type.metrics(truths, job.task_type.answers(rows, combined, job.spec), job.spec)

    return score


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


def _write_model(job: _Job, learned: _Learned) -> tuple[str, Mapping[str, float]]:
    """Write the model directory; returns its digest and the validation metrics of what it holds."""
    from components.models.inference import Predictor
    from components.training.trimmed_embedding import restore_embeddings

    folder, task_type = job.folder / MODEL, job.task_type
    network, tokenizer = learned.network.eval(), learned.tokenizer
    restore_embeddings(network)
    shutil.rmtree(folder, ignore_errors=True)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = _manifest(job)
    rows, windows = read_split(job.dataset, "validation", task_type), learned.table.windows()
    raw = Predictor.of_network(network, tokenizer, manifest).outputs_of(windows.features)
    outputs = task_type.combine(rows, windows, raw, learned.spec)
    manifest = manifest.model_copy(update={"fitted": task_type.fit(rows, outputs, learned.spec)})
    answers = task_type.answers(rows, outputs, manifest.spec)
    metrics = task_type.metrics([row.get("label", "") for row in rows], answers, manifest.spec)
    manifest = manifest.model_copy(update={"validation_metrics": metrics})
    write_golden(folder, golden_rows(Predictor.of_network(network, tokenizer, manifest), rows))
    return write_manifest(folder, manifest), metrics


def _manifest(job: _Job) -> Manifest:
    return Manifest(
        name=job.config.name,
        task_type=job.config.task_type,
        labels=job.dataset.labels,
        max_length=job.spec.max_length,
        window_overlap=job.spec.window_overlap,
        settings=job.spec.settings,
        base_model=job.base.spec,
        base_model_digest=job.base.digest,
        data_digest=job.dataset.digest,
        train_rows=job.tokens.rows.get("train", 0),
        code_digest=digest_code("components.training.fine_tuning", f"components.task_types.{job.config.task_type}"),
        validation_metrics={},
    )
