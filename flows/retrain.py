"""The flow that keeps a model fresh. It reads like what it does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from components.records import TrainedModel, ValidatedDataset, as_json
from components.settings import read_settings
from components.step_store import model_lock
from flows import results, steps
from flows.job import Job, open_job
from flows.progress import run_log
from flows.results import RunResult


def _run_name() -> str:
    return f"{Path(flow_run.parameters['run_file']).stem}"


@flow(name="retrain", flow_run_name=_run_name, log_prints=False, validate_parameters=True)
def retrain(run_file: str) -> Any:
    """Validate, tokenize, fine-tune, evaluate, register, decide, and only then bundle, prove and promote.

    Args:
        run_file: path of the run file, as the process that runs the flow sees it.

    Returns:
        A completed state named after the outcome; its data is the content of a `RunResult`.

    Raises:
        ProjectError: something that a person can mend; a refused promotion is none.
    """
    settings = read_settings(os.environ, Path.cwd())
    job = open_job(Path(run_file), settings, run_log())
    with model_lock(settings.locks, job.config.name):
        result = _retrain(job)
    return Completed(name=result.outcome.capitalize(), message=result.reason, data=as_json(result))


def _retrain(job: Job) -> RunResult:
    plan = job.plan()
    if plan.unchanged:
        return results.unchanged(job, plan.unchanged)
    dataset = steps.validate(job)
    tokens = steps.tokenize(job, dataset)
    with steps.tracked_run(job, dataset, tokens) as run_id:
        model = steps.fine_tune(job, run_id, dataset, tokens)
        return _judge(job, run_id, dataset, model)


def _judge(job: Job, run_id: str, dataset: ValidatedDataset, model: TrainedModel) -> RunResult:
    settled = job.settled(model)
    if settled:
        return results.unchanged(job, settled)
    report = steps.evaluate(job, dataset, model)
    standard = steps.evaluate_champion(job, dataset)
    version = steps.register(job, run_id, dataset, model, report)
    decision = steps.decide(job, version, report, standard)
    if not decision.promote:
        return results.refused(job, version, report, decision)
    bundle = steps.bundle(job, version, model, report, decision)
    steps.prove(job, version, bundle)
    steps.promote(job, version, bundle, decision)
    return results.promoted(job, version, report, decision, bundle.tag)
