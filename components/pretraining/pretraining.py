"""Pretraining: examples and a base in, a model directory out, one phase of sequence lengths after the other.

The directory is one of fill_mask, and a base model: its weights hold the encoder, the pooler and both heads. A killed
phase goes on from its last whole checkpoint when it is called again with the same folder. In several processes each one
calls `pretrain_phase`; the first writes.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.digests import digest_code
from components.models.model_directory import Manifest, model_digest, write_golden, write_manifest
from components.pretraining.throughput import flops_per_token, matrix_rate
from components.pretraining_config import Phase, PretrainingConfig
from components.records import BaseModel, PretrainingExamples, TrainedModel, ValidatedDataset
from components.task_types import find_task_type
from components.training.checkpoints import find_whole_checkpoint
from components.training.devices import DeviceChoice, choose_device
from components.training.fine_tuning import CHECKPOINTS, MODEL
from components.training.golden_rows import golden_rows
from components.training.tokenization import load_tokenizer
from components.training.training_errors import translated_errors
from components.training.training_history import HISTORY, History, Progress

if TYPE_CHECKING:
    from components.pretraining.pretrainer import Pretrainer

log = logging.getLogger("rebert.training")


@dataclass(frozen=True, slots=True)
class PhaseJob:
    """What a phase needs. `number` counts from 1; `start` is the model directory of the phase before, if any."""

    config: PretrainingConfig
    number: int
    examples: PretrainingExamples
    base: BaseModel
    dataset: ValidatedDataset
    start: Path | None
    folder: Path

    @property
    def phase(self) -> Phase:
        return self.config.phases[self.number - 1]


def pretrain_phase(job: PhaseJob, progress: Callable[[Progress], None] | None = None) -> TrainedModel:
    """The network after a phase as a model directory `folder/model`.

    Raises:
        TrainingError: memory ran out, the loss is not a number, or the device is not there.
        StorageError: the disk is full.
    """
    training = job.config.fine_tuning_settings(job.phase)
    choice = choose_device(training)
    began = time.monotonic()
    with translated_errors(training, job.phase.max_length, choice.device):
        job.folder.mkdir(parents=True, exist_ok=True)
        trainer = _prepare(job, choice, progress)
        rows_a_second = _train(job, trainer, choice)
        if trainer.is_world_process_zero():
            _write_model(job, trainer, trainer.found)
        trainer.accelerator.wait_for_everyone()
    return TrainedModel(
        folder=job.folder / MODEL,
        digest=model_digest(job.folder / MODEL),
        history=job.folder / HISTORY,
        device=choice.device,
        precision=choice.precision,
        best_epoch=round(trainer.state.epoch or 0.0, 4),
        seconds=round(time.monotonic() - began, 3),
        samples_per_second=rows_a_second,
        validation_metrics=trainer.found,
    )


def steps_of(config: PretrainingConfig, examples: PretrainingExamples, number: int) -> int:
    """Optimiser steps of a phase."""
    phase = config.phases[number - 1]
    return ceil(ceil(examples.sequences[f"train/phase-{number}"] / phase.batch_size) * phase.epochs)


def _prepare(job: PhaseJob, choice: DeviceChoice, progress: Callable[[Progress], None] | None) -> Pretrainer:
    from transformers import set_seed

    from components.pretraining.example_table import ExampleTable
    from components.pretraining.network import PretrainingNetwork, build_network
    from components.pretraining.pretrainer import Pretrainer, pretraining_arguments
    from components.training.fast_dropout import use_fast_dropout

    config, rank = job.config, int(os.environ.get("RANK", "0"))
    set_seed(config.training.seed)
    tokenizer = load_tokenizer(job.base)
    tables = {
        split: ExampleTable.of_phase(job.examples, split, job.number, tokenizer, config)
        for split in ("train", "validation")
    }
    network = build_network(config, job.base, job.start)
    network.config.mask_token_id = tokenizer.mask_token_id  # fill_mask's network hides tokens by itself
    flops = flops_per_token(network.config, float(tables["train"].lengths.mean()), config.examples.mask_share)
    if config.training.gradient_checkpointing:
        network.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    fast = choice.device == "cpu" and not config.training.gradient_checkpointing
    arguments = pretraining_arguments(
        config, job.phase, job.folder / CHECKPOINTS, choice.device, choice.precision, len(tables["train"])
    )
    before = sum(steps_of(config, job.examples, number) for number in range(1, job.number))
    return Pretrainer(
        PretrainingNetwork(network, config.examples.next_sentence),
        arguments,
        config=config,
        phase=job.phase,
        tables=tables,
        history=History(job.folder / HISTORY, progress, steps_before=before),
        masks=use_fast_dropout(network, config.training.seed + rank) if fast else None,
        flops=flops,
        rate=matrix_rate(choice.device, choice.precision),
    )


def _train(job: PhaseJob, trainer: Pretrainer, choice: DeviceChoice) -> float:
    """Run the phase, from the last whole checkpoint if there is one; returns its sequences a second."""
    checkpoint = find_whole_checkpoint(job.folder / CHECKPOINTS)
    trainer.accelerator.wait_for_everyone()
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if trainer.is_world_process_zero():
        trainer.history.go_back_to(step)
        log.info("%s A matrix product runs at %.1f GFLOP/s.", choice.reason, trainer.rate / 1e9)
        if checkpoint is not None:
            log.info("going on from step %d", step)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    rows = (trainer.state.global_step - step) * job.phase.batch_size
    return float(round(rows / (time.monotonic() - began), 2))


def _write_model(job: PhaseJob, trainer: Pretrainer, metrics: Mapping[str, float]) -> None:
    """Write the model directory, with samples of what it guesses beside it."""
    from components.models.inference import Predictor
    from components.pretraining.samples import write_samples

    folder, task_type = job.folder / MODEL, find_task_type("fill_mask")
    tokenizer = load_tokenizer(job.base)
    network = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).network.eval()
    shutil.rmtree(folder, ignore_errors=True)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = _manifest(job, metrics)
    network = task_type.load_network(folder, manifest.spec).eval()
    predictor = Predictor.of_network(network, tokenizer, manifest)
    rows = _passages(job.dataset)
    write_samples(predictor, [str(row["text"]) for row in rows], job.folder / "samples.md")
    write_golden(folder, golden_rows(predictor, rows))
    shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)
    write_manifest(folder, manifest)


def _passages(dataset: ValidatedDataset) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(dataset.split_file("test"), columns=["text"]).to_pylist()
    return rows


def _manifest(job: PhaseJob, metrics: Mapping[str, float]) -> Manifest:
    config = job.config.as_fill_mask(job.base.spec)
    return Manifest(
        name=config.name,
        task_type="fill_mask",
        labels=(),
        max_length=config.model.max_length,
        window_overlap=config.model.overlap,
        settings=find_task_type("fill_mask").settings().model_dump(mode="json"),
        base_model=job.base.spec,
        base_model_digest=job.base.digest,
        data_digest=job.dataset.digest,
        train_rows=job.dataset.rows["train"],
        code_digest=digest_code("components.pretraining.pretraining"),
        validation_metrics=metrics,
    )
