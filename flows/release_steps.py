"""The tasks from a candidate that won to the champion that is served; `steps.py` has those before the decision."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from prefect import task

from components.records import (
    Bundle,
    EvaluationReport,
    OptimisedModel,
    PromotionDecision,
    RegisteredVersion,
    TrainedModel,
    ValidatedDataset,
)
from components.serving.proving import Proof
from components.step_store import temporary_folder
from flows import artifacts
from flows.engines import choose_engine
from flows.job import Job
from flows.references import measure_reference
from flows.task_options import STORED


@task(name="optimise", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["bento"], **STORED)
def optimise(
    job: Job, version: RegisteredVersion, dataset: ValidatedDataset, report: EvaluationReport
) -> OptimisedModel:
    """The engine that the endpoint computes the model with, and what the others that were tried came to."""
    optimised = choose_engine(job, version, dataset, report)
    artifacts.publish_text(job.config.name, "engines", artifacts.engines_table(optimised))
    return optimised


@task(name="bundle", retries=1, retry_delay_seconds=5, timeout_seconds=1800, tags=["bento"], **STORED)
def bundle(
    job: Job,
    version: RegisteredVersion,
    dataset: ValidatedDataset,
    model: TrainedModel,
    report: EvaluationReport,
    decision: PromotionDecision,
    optimised: OptimisedModel,
) -> Bundle:
    """A Bento with the model, its engine, the monitor's reference, the service and pinned requirements."""
    from components.serving.bundling import build_bundle
    from components.serving.releases import Evidence
    from components.tracking import log_bundle

    with job.log.step("bundle") as note:
        reference = measure_reference(job, version, dataset, optimised).folder
        evidence = Evidence(report.metrics, decision.reason, optimised.engine_folder, optimised.trials, reference)
        built = build_bundle(job.settings, job.config, version, model.folder, evidence)
        log_bundle(job.settings, version.run_id, built)
        note.detail = built.tag
    artifacts.publish_text(job.config.name, "bundle", f"`{built.tag}` in `{built.path}`, model `{built.model_digest}`")
    return built


@task(name="prove", retries=1, retry_delay_seconds=5, timeout_seconds=900, tags=["bento"], **STORED)
def prove(job: Job, version: RegisteredVersion, built: Bundle) -> Proof:
    """The running bundle and the registered model give the trainer's answers."""
    from components.registry import fetch_model
    from components.serving.proving import prove_bundle
    from components.serving.serving_process import check_registered_in_process

    check = partial(check_registered_in_process, job.process)
    with job.log.step("prove") as note:
        proof = prove_bundle(job.settings, built, fetch_model(job.settings, version), check=check)
        note.detail = artifacts.proof_in_words(proof)
    artifacts.publish_text(job.config.name, "proof", artifacts.as_table(proof))
    return proof


@task(name="check bundle", retries=1, retry_delay_seconds=5, timeout_seconds=600, tags=["gate"], **STORED)
def check_bundle(
    job: Job,
    version: RegisteredVersion,
    built: Bundle,
    proof: Proof,
    decision: PromotionDecision,
    optimised: OptimisedModel,
) -> PromotionDecision:
    """The decision once more, with what was measured on the running bundle."""
    from components.reports.bundle_rules import judge_bundle, measure_bundle
    from components.reports.decision_file import decision_digest
    from components.tracking import log_decision, log_measured

    error = optimised.trials[-1].calibration_error
    measured = measure_bundle(built.path, proof.p95_ms, proof.core_seconds, job.config.gate.core_watts, error)
    log_measured(job.settings, version.run_id, measured)
    artifacts.publish_text(job.config.name, "measured", artifacts.as_table(measured))
    with temporary_folder() as place:
        judged = judge_bundle(decision, measured, job.config.gate, place, optimised.trials)
        if judged is not decision:
            log_decision(job.settings, version.run_id, judged)
            artifacts.publish_file(job.config.name, "decision", judged.folder / "decision.md")
        digest = decision_digest(judged)
    return replace(judged, folder=decision.folder, digest=digest)


@task(name="promote", retries=3, retry_delay_seconds=[2, 10, 30], timeout_seconds=600, tags=["mlflow"], **STORED)
def promote(job: Job, version: RegisteredVersion, built: Bundle, decision: PromotionDecision) -> RegisteredVersion:
    """The candidate is the champion, in MLflow and on the endpoint."""
    from components.registry import get_version
    from components.registry import promote as make_champion
    from components.serving.releases import write_release
    from components.tracking import log_promotion

    with job.log.step("promote") as note:
        make_champion(job.settings, version.name, version.version, decision)
        write_release(job.settings, version.name, built)
        log_promotion(job.settings, version.run_id)
        note.detail = f"version {version.version} is the champion"
    artifacts.publish_text(job.config.name, "promotion", f"{note.detail}, served by `{built.tag}`. {decision.reason}")
    return get_version(job.settings, version.name, version.version)
