"""The choice of an engine as a step of a run, and of a run that has nothing else to do."""

from __future__ import annotations

from components.planning import find_validated
from components.records import EvaluationReport, OptimisedModel, RegisteredVersion, ValidatedDataset
from components.step_parts import evaluate_step, optimise_step
from flows.job import Job


def choose_engine(
    job: Job, version: RegisteredVersion, dataset: ValidatedDataset, report: EvaluationReport
) -> OptimisedModel:
    """The engine that a version is served with, found or tried, and told to MLflow."""
    from components.registry import fetch_model
    from components.serving.serving_process import optimise_in_process
    from components.tracking import log_engines

    optimised = job.perform(
        optimise_step(job.inputs, dataset, report),
        OptimisedModel,
        lambda folder: optimise_in_process(
            job.process, job.config, fetch_model(job.settings, version), report, dataset, folder
        ),
        _in_words,
    )
    log_engines(job.settings, version.run_id, optimised)
    return optimised


def choose_engine_again(job: Job, version: RegisteredVersion) -> OptimisedModel | None:
    """The engine for a version that is live, after the run file's word about engines; None where its rows are gone."""
    dataset = find_validated(job.inputs, job.store)
    report = dataset and job.store.find(evaluate_step(job.inputs, dataset, version.digest), EvaluationReport)
    return choose_engine(job, version, dataset, report) if dataset and report else None


def _in_words(model: OptimisedModel) -> str:
    taken = model.trials[-1]
    return f"{taken.engine}, {taken.milliseconds:.1f} ms a short text, loses {max(taken.loss, 0):.4f} of {model.metric}"
