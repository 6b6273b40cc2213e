"""One pretraining: its settings, its inputs and the champion, looked up once, and a thin Prefect task for each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import task
from prefect.runtime import flow_run

from components.data.data_files import DataFile, as_found, find_files
from components.models.base_models import require_positions
from components.pretraining.documents import KINDS
from components.pretraining.planning import corpus_step, examples_step, phase_step, vocabulary_step
from components.pretraining_config import PretrainingConfig
from components.processes.compute_process import ComputeProcess
from components.records import BaseModel, PretrainingExamples, TrainedModel, ValidatedDataset
from components.settings import Settings
from components.step_parts import Inputs
from components.training.devices import choose_device
from flows import artifacts
from flows.job import Job, find_base_model, find_champion
from flows.progress import RunLog
from flows.task_options import STORED


@dataclass(frozen=True)
class Pretraining:
    """What the steps of a pretraining share. `job` is the same model as one that fills masks; its base is set later."""

    config: PretrainingConfig
    files: Sequence[DataFile]
    base: BaseModel | None  # None from scratch
    job: Job

    def with_base(self, base: BaseModel) -> Pretraining:
        """The same with the base that it starts from."""
        config = self.config.as_fill_mask(base.spec)
        return replace(self, job=replace(self.job, inputs=replace(self.job.inputs, config=config, base=base)))


def open_pretraining(config: PretrainingConfig, settings: Settings, log: RunLog) -> Pretraining:
    """Look up what a run file names.

    Raises:
        ProjectError: something that the run file names is not there, or this machine has not what it asks for.
    """
    from components import registry

    named = config.model.base
    base = find_base_model(settings, named, config.folder, config.model.sha256) if named else None
    if base is not None:
        require_positions(base, config.phases[-1].max_length)
    training = config.fine_tuning_settings(config.phases[-1])
    choice = choose_device(training)
    files = [as_found(path) for path in find_files(config.corpus.files, config.folder, KINDS)]
    inputs = Inputs(
        config=config.as_fill_mask("from scratch"),
        files={"train": files},
        base=base or BaseModel("from scratch", Path(), "", ""),
        champion=find_champion(settings, config.name),
        rolled_back=registry.rolled_back(settings, config.name),
        hardware=f"{choice.device} {choice.precision}",
    )
    return Pretraining(config, files, base, Job(inputs, settings, log, ComputeProcess(training, settings)))


@task(name="corpus", retries=1, retry_delay_seconds=5, timeout_seconds=24 * 3600, tags=["data"], **STORED)
def corpus(run: Pretraining) -> ValidatedDataset:
    """The checked documents, some of them held out."""
    from components.pretraining.corpus import read_corpus

    dataset = run.job.perform(
        corpus_step(run.config, run.files),
        ValidatedDataset,
        lambda folder: read_corpus(run.config, run.files, folder),
        lambda made: f"{made.rows['train']:,} sentences, {made.rows['validation']:,} held out",
    )
    artifacts.publish_checks(run.config.name, dataset.checks)
    return dataset


@task(name="vocabulary", retries=1, retry_delay_seconds=5, timeout_seconds=24 * 3600, tags=["data"], **STORED)
def vocabulary(run: Pretraining, dataset: ValidatedDataset) -> BaseModel:
    """The base model, or for one from scratch its vocabulary and configuration, checked for what it is wanted for."""
    from components.pretraining.vocabulary import load, new_base, require_comparable, require_suitable
    from components.training.tokenization import load_tokenizer

    champion = run.job.champion
    if run.base is None:
        base = run.job.perform(
            vocabulary_step(run.config, dataset, champion.digest if champion else None),
            BaseModel,
            lambda folder: new_base(run.config, dataset, champion.folder if champion else None, folder),
            lambda made: f"{made.spec}{', with the champion’s vocabulary' if champion else ''}",
        )
    else:
        base = run.base
    tokenizer = load_tokenizer(base)
    require_suitable(base, tokenizer, run.config.examples.next_sentence)
    if champion is not None:
        require_comparable(run.config, tokenizer, load(champion.folder))
    return base


@task(name="examples", retries=1, retry_delay_seconds=5, timeout_seconds=24 * 3600, tags=["data"], **STORED)
def examples(run: Pretraining, dataset: ValidatedDataset, base: BaseModel) -> PretrainingExamples:
    """Token ids and sequences in Arrow files."""
    from components.pretraining.examples import make_examples

    return run.job.perform(
        examples_step(run.config, dataset, base),
        PretrainingExamples,
        lambda folder: make_examples(run.config, dataset, base, folder),
        lambda made: f"{made.tokens['train']:,} tokens, {made.sequences['train/phase-1']:,} sequences",
    )


# No time limit of Prefect's: it does not stop torch. The child process that trains has its own watchdog.
@task(name="pretrain", retries=1, retry_delay_seconds=10, tags=["gpu"], **STORED)
def pretrain_phase(
    run: Pretraining,
    run_id: str,
    number: int,
    dataset: ValidatedDataset,
    made: PretrainingExamples,
    before: TrainedModel | None,
) -> TrainedModel:
    """The model after a phase; its loss curves reach MLflow while it learns."""
    from components import tracking
    from components.pretraining.pretraining import PhaseJob
    from components.pretraining.pretraining_process import pretrain_in_process

    job = run.job
    step = phase_step(run.config, number, made, job.base, job.inputs.hardware)
    start = before.folder if before else None

    def work(folder: Path) -> TrainedModel:
        with tracking.LiveCurves(job.settings, run_id, folder / "history.jsonl"):
            return pretrain_in_process(
                PhaseJob(run.config, number, made, job.base, dataset, start, folder),
                settings=job.settings,
                on_progress=lambda now: job.log.listener.progressed(step.name, now.share, now.text),
            )

    model = job.perform(step, TrainedModel, work, _phase_in_words, resumable=True)
    tracking.log_phase(job.settings, run_id, number, model)
    artifacts.publish_text(run.config.name, "pretraining", artifacts.training_table(model))
    return model


def _phase_in_words(model: TrainedModel) -> str:
    found = model.validation_metrics
    pairs = ""
    if "nsp_accuracy" in found:
        pairs = (
            f", next sentence {found['nsp_accuracy']:.1%} ({found['nsp_low']:.1%} to {found['nsp_high']:.1%} of "
            f"{found['nsp_pairs']:,.0f} pairs, chance {found['nsp_chance']:.1%})"
        )
    return f"held-out MLM loss {found['mlm_loss']:.3f}, accuracy {found['mlm_accuracy']:.1%}{pairs}"


@contextmanager
def tracked(run: Pretraining, made: PretrainingExamples) -> Iterator[str]:
    """The MLflow run of a pretraining, open while the model is made and judged, closed on every way out."""
    from components import tracking

    job, last = run.job, len(run.config.phases)
    step = phase_step(run.config, last, made, job.base, job.inputs.hardware)
    tags = {
        "kind": "pretraining",
        "data_digest": made.digest,
        "base_model_digest": job.base.digest,
        "code_digest": step.parts["code"],
        "device_reason": choose_device(job.config.training).reason,
        "flow_run": str(flow_run.id or ""),
    }
    params = tracking.pretraining_params(run.config, made, job.base)
    run_id = tracking.start_run(job.settings, job.config, step.digest, params=params, tags=tags)
    with tracking.running(job.settings, run_id):
        tracking.log_examples(job.settings, run_id, made)
        yield run_id
