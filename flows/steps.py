"""One thin Prefect task for each component: its retries, its time limit, its tags, its stored result, its artifact.

Prefect's result cache is off: its keys are made of task inputs, which cannot see that a file behind a path has changed.
Finished work is found by content instead (`components/step_store.py`); what Prefect stores is the record, as JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from components.errors import ProjectError, RegistryError
from components.planning import decide_step, evaluate_step, tokenize_step, train_step, validate_step
from components.records import (
    Bundle,
    EvaluationReport,
    PromotionDecision,
    RegisteredVersion,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from flows import artifacts
from flows.job import Job


def is_worth_a_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """A user's mistake stays one however often it is tried; an MLflow that was away may be back."""
    try:
        state.result()
    except RegistryError:
        return True
    except ProjectError:
        return False
    except Exception:
        return True
    return False


STORED: dict[str, Any] = {
    "persist_result": True,
    "result_serializer": "json",
    "cache_policy": NO_CACHE,
    "retry_condition_fn": is_worth_a_retry,
}


@task(name="validate", retries=1, retry_delay_seconds=5, timeout_seconds=3600, tags=["data"], **STORED)
def validate(job: Job) -> ValidatedDataset:
    """The rows that may be trained on."""
    from components.validation import validate_dataset

    labels = job.champion.labels if job.champion else None
    dataset = job.perform(
        validate_step(job.config, job.files, job.base, job.champion),
        ValidatedDataset,
        lambda folder: validate_dataset(job.config, job.base, labels, folder),
        artifacts.dataset_in_words,
    )
    artifacts.publish_validation(job.config.name, dataset.folder)
    return dataset


@task(name="tokenize", retries=1, retry_delay_seconds=5, timeout_seconds=3600, tags=["data"], **STORED)
def tokenize(job: Job, dataset: ValidatedDataset) -> TokenizedDataset:
    """Token ids in an Arrow store."""
    from components.tokenization import tokenize_dataset

    return job.perform(
        tokenize_step(job.config, dataset, job.base),
        TokenizedDataset,
        lambda folder: tokenize_dataset(job.config, dataset, job.base, folder),
        artifacts.tokens_in_words,
    )


# No time limit of Prefect's: it does not stop torch. The child process that trains has its own watchdog.
@task(name="fine-tune", retries=1, retry_delay_seconds=10, tags=["gpu"], **STORED)
def fine_tune(job: Job, dataset: ValidatedDataset, tokens: TokenizedDataset) -> TrainedModel:
    """A fine-tuned model directory; its loss curves reach MLflow while it learns."""
    from components.training_process import train_in_process

    step = train_step(job.config, tokens, job.base, job.hardware)

    def work(folder: Path) -> TrainedModel:
        with follow_training(job, dataset, step, folder):
            return train_in_process(
                job.config,
                tokens,
                job.base,
                dataset,
                folder,
                settings=job.settings,
                on_progress=lambda now: job.log.listener.progressed("fine_tune", now.share, now.text),
            )

    model = job.perform(step, TrainedModel, work, artifacts.training_in_words, resumable=True)
    artifacts.publish_text(job.config.name, "training", artifacts.training_table(model))
    return model


@task(name="evaluate", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["gpu"], **STORED)
def evaluate(job: Job, dataset: ValidatedDataset, model: TrainedModel) -> EvaluationReport:
    """The candidate's scores on the frozen rows."""
    report = job.perform(
        evaluate_step(job.config, model.digest, dataset),
        EvaluationReport,
        lambda folder: score(job, dataset, model.folder, folder),
        artifacts.report_in_words,
    )
    text = artifacts.scores_table(report) + "\n" + artifacts.worst_classes(report)
    artifacts.publish_text(job.config.name, "evaluation", text)
    return report


@task(name="evaluate champion", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["gpu"], **STORED)
def evaluate_champion(job: Job, dataset: ValidatedDataset) -> EvaluationReport | None:
    """The champion's scores on the same rows; None where there is no champion."""
    from components.registry import download_model

    if job.champion is None:
        return None
    champion = job.champion

    def work(folder: Path) -> EvaluationReport:
        model = download_model(job.settings, job.config.name, champion.version, folder / "model")
        return score(job, dataset, model, folder)

    step = evaluate_step(job.config, champion.digest, dataset)
    return job.perform(step, EvaluationReport, work, artifacts.report_in_words)


