"""The flow that keeps a model fresh. It reads like what it does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, State

from components.records import as_json
from components.settings import Settings, read_settings
from components.step_store import model_lock
from flows import steps
from flows.job import Job, open_job
from flows.progress import run_log
from flows.results import RunResult


def _run_name() -> str:
    return f"{Path(flow_run.parameters['run_file']).stem}"


@flow(name="retrain", flow_run_name=_run_name, log_prints=False, validate_parameters=True)
def retrain(run_file: str) -> State[dict[str, Any]]:
    """Validate, tokenize, fine-tune, evaluate, register, decide, and only then bundle, prove and promote.

    Args:
        run_file: path of the run file, as the process that runs the flow sees it.

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
        return RunResult.unchanged(job, plan.unchanged)
    dataset = steps.validate(job)
    tokens = steps.tokenize(job, dataset)
    model = steps.fine_tune(job, dataset, tokens)
    report = steps.evaluate(job, dataset, model)
    standard = steps.evaluate_champion(job, dataset)
    version = steps.register(job, dataset, model, report)
    decision = steps.decide(job, version, report, standard)
    if not decision.promote:
        return RunResult.refused(job, version, report, decision)
    bundle = steps.bundle(job, version, model, report, decision)
    steps.prove(job, version, bundle)
    steps.promote(job, version, bundle, decision)
    return RunResult.promoted(job, version, report, decision, bundle)
