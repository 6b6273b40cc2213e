"""The flow that keeps a model fresh. It reads like what it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from components.config import RunConfig
from components.errors import BusyError, RegistryAway
from components.records import TokenizedDataset, TrainedModel, ValidatedDataset, as_json
from components.registry.single_flight import single_flight
from components.run_files import with_data_of
from components.settings import Settings, apply_settings, read_settings
from components.step_parts import decide_step, verdict_step
from components.tracking import log_label_noise
from flows import computing, release_steps, results, steps, turns
from flows.approving import close_expired, leave_waiting
from flows.job import Job, open_job
from flows.labels import look_at_labels
from flows.notifying import crashed, failures_told, read_or_tell, reported
from flows.progress import log_everything, run_log
from flows.results import RunResult
from flows.seeds import other_seeds
from flows.serving import keep_live
from flows.tracked import tracked_run
from flows.triggers import admit


def _run_name() -> str:
    day = flow_run.parameters.get("as_of")
    return Path(flow_run.parameters["run_file"]).stem + (f" as of {day}" if day else "")


@flow(name="retrain", flow_run_name=_run_name, log_prints=False, validate_parameters=True, on_crashed=[crashed])
def retrain(run_file: str, as_of: date | None = None, cause: str | None = None) -> Any:
    """Validate, tokenize, fine-tune, evaluate, register, decide, and only then optimise, bundle, prove and promote.

    Args:
        run_file: path of the run file, as the process that runs the flow sees it.
        as_of: only data of this day or before, by what the run file's data.dated_by says; left out: all data.
        cause: what asked for the run, where it was neither the schedule nor a person; the run file's limits on triggers
            hold for it.

    Returns:
        A completed state named after the outcome; its data is the content of a `RunResult`.

    Raises:
        ProjectError: something that a person can mend; a refused promotion is none.
    """
    settings = read_settings(os.environ, Path.cwd())
    apply_settings(settings)  # for runs that a worker starts: telemetry off, no hub, short waits
    log_everything()
    config = read_or_tell(settings, Path(run_file))
    with failures_told(config, settings, Path(run_file), str(flow_run.id or "")):
        return _in_turn(with_data_of(config, as_of), settings, Path(run_file), triggered=bool(cause and deployment.id))


def _in_turn(config: RunConfig, settings: Settings, run_file: Path, *, triggered: bool) -> Any:
    """The state that the run ends in, when it is its turn and has something to do."""
    if triggered and (turned_away := admit(config, str(flow_run.id), str(deployment.id))):
        return Completed(name=turned_away[0], message=turned_away[1])
    told = reported(config, settings, run_file, str(flow_run.id or ""))
    try:
        # The champion is looked up inside the lock: another run of this model must not move it in between.
        with single_flight(settings, config.name):
            if needless := turns.superseded():
                return needless
            with told as report:
                result = _attempt(config, settings)
                report.ended(result)
    except (BusyError, RegistryAway) as error:
        turns.wait(error)
    return Completed(name=result.outcome.capitalize(), message=result.reason, data=as_json(result))


def _attempt(config: RunConfig, settings: Settings) -> RunResult:
    """What came of the run; where MLflow is away it waits, which is no failure to be told of."""
    try:
        close_expired(settings, config)
        job = open_job(config, settings, run_log(), computing.current.get())
        with _pruned_after(job), job.process:
            return run_job(job)
    except RegistryAway as error:
        turns.wait(error)


@contextmanager
def _pruned_after(job: Job) -> Iterator[None]:
    """Have what nobody needs go when the run has ended, also when it failed: a full disk can free itself."""
    try:
        yield
    except RegistryAway:  # nobody can say what is needed
        raise
    except Exception:
        _prune(job)
        raise
    _prune(job)


def _prune(job: Job) -> None:
    if job.config.retention.keep is not None:
        steps.prune(job, job.config.retention.keep)


def run_job(job: Job) -> RunResult:
    """All steps of a run, in their order."""
    plan = job.plan()
    if plan.unchanged:
        keep_live(job)
        return results.unchanged(job, plan.unchanged)
    computing.start_ahead(job, plan)
    dataset = steps.validate(job)
    noise = look_at_labels(job, dataset)
    dataset = noise.dataset if noise else dataset
    tokens = steps.tokenize(job, dataset)
    with tracked_run(job, dataset, tokens) as run_id:
        if noise:
            log_label_noise(job.settings, run_id, noise)
        model = steps.fine_tune(job, run_id, dataset, tokens)
        return judge(job, run_id, dataset, model, tokens)


def judge(
    job: Job, run_id: str, dataset: ValidatedDataset, model: TrainedModel, tokens: TokenizedDataset | None = None
) -> RunResult:
    """Everything from a trained candidate to its promotion or refusal.

    Args:
        tokens: what other seeds are trained from, where `gate.seeds` asks for them.
    """
    settled = job.settled(model)
    if settled:
        keep_live(job)
        return results.unchanged(job, settled)
    report = steps.evaluate(job, dataset, model)
    standard = steps.evaluate_champion(job, dataset) if job.champion else None
    best = steps.evaluate_best(job, dataset) if job.inputs.best else None
    seeds = other_seeds(job, dataset, tokens) if job.champion and tokens else []
    version = steps.register(job, run_id, dataset, model, report)
    verdict = verdict_step(job.inputs, decide_step(job.inputs, report, standard, best, seeds))
    decision = steps.decide(job, version, report, standard, best, seeds)
    if not decision.promote:
        steps.retire(job, version, decision, verdict)
        return results.refused(job, version, report, decision)
    optimised = release_steps.optimise(job, version, dataset, report)
    bundle = release_steps.bundle(job, version, dataset, model, report, decision, optimised)
    proof = release_steps.prove(job, version, bundle)
    decision = release_steps.check_bundle(job, version, bundle, proof, decision, optimised)
    if not decision.promote:
        steps.retire(job, version, decision, verdict)
        return results.refused(job, version, report, decision)
    if job.config.gate.approval:
        return leave_waiting(job, version, report, decision)
    release_steps.promote(job, version, bundle, decision)
    return results.promoted(job, version, report, decision, bundle.tag)
