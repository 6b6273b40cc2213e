"""One thin Prefect task for each component: its retries, its time limit, its tags, its stored result, its artifact.

Those from data to decision; `release_steps.py` has those from a candidate that won to the endpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from prefect import task

from components.errors import ProjectError, RejectedData
from components.planning import find_validated
from components.records import (
    EvaluationReport,
    PromotionDecision,
    RegisteredVersion,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from components.step_parts import (
    Champion,
    behaviour_files,
    decide_step,
    evaluate_step,
    tokenize_step,
    train_step,
    validate_step,
)
from components.step_store import Step, temporary_folder
from flows import artifacts
from flows.job import Job
from flows.task_options import STORED
from flows.tracked import recorded

log = logging.getLogger("rebert.flows")


@task(name="validate", retries=1, retry_delay_seconds=5, timeout_seconds=3600, tags=["data"], **STORED)
def validate(job: Job) -> ValidatedDataset:
    """The rows that may be trained on."""
    from components.validation.examination import validate_dataset
    from components.validation.token_process import look_in_process

    labels = job.champion.labels if job.champion else None
    step = validate_step(job.inputs)
    try:
        dataset = job.perform(
            step,
            ValidatedDataset,
            lambda folder: validate_dataset(
                job.config, job.base, labels, folder, files=job.inputs.files, look=partial(look_in_process, job.process)
            ),
            artifacts.dataset_in_words,
            found=find_validated(job.inputs, job.store),
        )
    except RejectedData as error:
        raise recorded(job, step.digest, error) from error
    artifacts.publish_checks(job.config.name, dataset.checks)
    return dataset


@task(name="tokenize", retries=1, retry_delay_seconds=5, timeout_seconds=3600, tags=["data"], **STORED)
def tokenize(job: Job, dataset: ValidatedDataset) -> TokenizedDataset:
    """Token ids in an Arrow store."""
    from components.training.training_process import tokenize_in_process

    tokens = job.perform(
        tokenize_step(job.inputs, dataset),
        TokenizedDataset,
        lambda folder: tokenize_in_process(job.process, job.config, dataset, job.base, folder),
        artifacts.tokens_in_words,
    )
    artifacts.publish_text(job.config.name, "tokens", artifacts.tokens_table(tokens))
    return tokens


# No time limit of Prefect's: it does not stop torch. The child process that trains has its own watchdog.
@task(name="fine-tune", retries=1, retry_delay_seconds=10, tags=["gpu"], **STORED)
def fine_tune(job: Job, run_id: str, dataset: ValidatedDataset, tokens: TokenizedDataset) -> TrainedModel:
    """A fine-tuned model directory; its loss curves reach MLflow while it learns."""
    from components.tracking import LiveCurves
    from components.training.training_process import train_in_process

    step = train_step(job.inputs, dataset, tokens)

    def work(folder: Path) -> TrainedModel:
        with LiveCurves(job.settings, run_id, folder / "history.jsonl"):
            return train_in_process(
                job.config,
                tokens,
                job.base,
                dataset,
                folder,
                process=job.process,
                on_progress=lambda now: job.log.listener.progressed("fine_tune", now.share, now.text),
            )

    model = job.perform(step, TrainedModel, work, artifacts.training_in_words, resumable=True)
    artifacts.publish_text(job.config.name, "training", artifacts.training_table(model))
    return model


@task(name="evaluate", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["gpu"], **STORED)
def evaluate(job: Job, dataset: ValidatedDataset, model: TrainedModel) -> EvaluationReport:
    """The candidate's scores on the frozen rows."""
    report = job.perform(
        evaluate_step(job.inputs, dataset, model.digest),
        EvaluationReport,
        lambda folder: score(job, dataset, model.folder, folder),
        artifacts.report_in_words,
    )
    text = artifacts.scores_table(report) + "\n" + artifacts.worst_classes(report)
    artifacts.publish_text(job.config.name, "evaluation", text)
    return report


@task(name="evaluate champion", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["gpu"], **STORED)
def evaluate_champion(job: Job, dataset: ValidatedDataset) -> EvaluationReport | None:
    """The champion's scores on the same rows, by the same code."""
    return _score_again(job, dataset, job.champion, "evaluate champion") if job.champion else None


@task(name="evaluate best", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["gpu"], **STORED)
def evaluate_best(job: Job, dataset: ValidatedDataset) -> EvaluationReport | None:
    """The scores of the best version ever accepted on the same rows, where that is not the champion."""
    best = job.inputs.best
    return _score_again(job, dataset, best, "evaluate best") if best else None


def _score_again(job: Job, dataset: ValidatedDataset, model: Champion, title: str) -> EvaluationReport:
    report = job.perform(
        evaluate_step(job.inputs, dataset, model.digest),
        EvaluationReport,
        lambda folder: score(job, dataset, model.folder, folder),
        artifacts.report_in_words,
        title=title,
    )
    text = f"Version {model.version}. {artifacts.scores_table(report)}"
    artifacts.publish_text(job.config.name, title.replace(" ", "-"), text)
    return report


def score(job: Job, dataset: ValidatedDataset, model: Path, folder: Path) -> EvaluationReport:
    """A model's scores on the frozen rows."""
    from components.reports.evaluation_process import evaluate_in_process

    test, device, checks = dataset.split_file("test"), job.inputs.hardware.split()[0], behaviour_files(job.config)
    return evaluate_in_process(job.process, model, test, job.config.evaluation, folder, device=device, behaviour=checks)


@task(name="register", retries=3, retry_delay_seconds=[2, 10, 30], timeout_seconds=1800, tags=["mlflow"], **STORED)
def register(
    job: Job, run_id: str, dataset: ValidatedDataset, model: TrainedModel, report: EvaluationReport
) -> RegisteredVersion:
    """The candidate as a version in MLflow, with its data, its curves, its scores, its pictures and its card."""
    from components import tracking
    from components.registry import register_model, set_challenger
    from components.reports.model_card import write_model_card
    from components.reports.plots import draw_evaluation, draw_training

    with job.log.step("register") as note:
        card = write_model_card(job.config, dataset, model, report)
        tracking.log_dataset(job.settings, run_id, dataset)
        tracking.log_training(job.settings, run_id, model)
        with temporary_folder() as pictures:
            draw_evaluation(report.folder / "report.json", pictures)
            if model.best_epoch:  # where something was learned
                draw_training(model.history, report.primary_metric, model.best_epoch, pictures / "training.png")
            tracking.log_evaluation(job.settings, run_id, report, pictures)
        tracking.log_card(job.settings, run_id, card)
        version = register_model(job.settings, run_id, model.folder, report=report, card=card)
        set_challenger(job.settings, job.config.name, version.version)
        note.detail = artifacts.version_in_words(version)
    page = tracking.run_page(job.settings, run_id)
    if page:
        artifacts.publish_link(job.config.name, page, f"{version.name} version {version.version} in MLflow")
    artifacts.publish_text(job.config.name, "model-card", card.split("\n---\n", 1)[-1])
    return version


@task(name="decide", retries=1, retry_delay_seconds=5, timeout_seconds=1800, tags=["gate"], **STORED)
def decide(
    job: Job,
    version: RegisteredVersion,
    candidate: EvaluationReport,
    champion: EvaluationReport | None,
    best: EvaluationReport | None = None,
    seeds: Sequence[EvaluationReport] = (),
) -> PromotionDecision:
    """Whether the candidate replaces the champion, recorded in MLflow as well."""
    from components.reports.promotion import Standard, decide_promotion
    from components.tracking import accepted_report, earlier_decisions, log_decision

    number = job.champion.version if job.champion else None
    live = Standard(number, champion) if number and champion else None
    ever = Standard(job.inputs.best.version, best) if job.inputs.best and best else None
    earlier = earlier_decisions(job.settings, version.name, candidate.frozen_rows, version.run_id)
    accepted = accepted_report(job.settings, job.champion.run_id) if job.champion else None
    decision = job.perform(
        decide_step(job.inputs, candidate, champion, best, seeds),
        PromotionDecision,
        lambda folder: decide_promotion(
            candidate,
            live,
            job.config.gate,
            folder,
            best=ever,
            earlier_decisions=earlier,
            seeds=seeds,
            accepted=accepted,
        ),
        artifacts.decision_in_words,
    )
    # It may have been found again from a time when MLflow, another one or emptied since, had other numbers.
    decision = replace(decision, champion_version=number)
    log_decision(job.settings, version.run_id, decision)
    artifacts.publish_file(job.config.name, "decision", decision.folder / "decision.md")
    return decision


def retire(job: Job, version: RegisteredVersion, decision: PromotionDecision, verdict: Step) -> None:
    """A version that was refused is no challenger any more; the ledger says why.

    Args:
        verdict: that all this is done; the same inputs have nothing to do from then on.
    """
    from components.registry import retire_challenger

    retire_challenger(job.settings, version.name, version.version, decision)
    job.store.run(verdict, lambda _: decision)


# A run that has ended well stays so whatever happens here: what could not be removed is found again the next time.
@task(name="prune", timeout_seconds=1800, tags=["storage"], **STORED)
def prune(job: Job, keep: int) -> int:
    """Bytes of what was removed because nobody needs it any more."""
    from components.retention import find_removable, remove

    try:
        found = find_removable(job.settings, job.config.name, keep)
        remove(job.settings, found)
    except (ProjectError, OSError) as error:
        log.warning("Not all that could go was removed: %s", error)
        return 0
    freed = sum(removal.size for removal in found)
    artifacts.publish_text(job.config.name, "removed", f"{len(found)} things that nobody needs, {freed / 1e6:,.1f} MB")
    return freed
