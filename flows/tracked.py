"""What a run leaves in MLflow besides its version: its open run while it is at work, and a stopped delivery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prefect.runtime import flow_run

from components.errors import ProjectError, RejectedData
from components.recipes import recipe_of
from components.records import TokenizedDataset, ValidatedDataset
from components.step_parts import train_step
from components.training.devices import choose_device
from flows import artifacts
from flows.job import Job

log = logging.getLogger("rebert.flows")


@contextmanager
def tracked_run(
    job: Job, dataset: ValidatedDataset, tokens: TokenizedDataset, more_tags: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The MLflow run of this training, open while the candidate is made and judged, closed on every way out."""
    from components import tracking

    step = train_step(job.inputs, dataset, tokens)
    tags = {
        "data_digest": dataset.digest,
        "base_model_digest": job.base.digest,
        "code_digest": step.parts["code"],
        "device_reason": choose_device(job.config.training).reason,
        "flow_run": str(flow_run.id or ""),
        **({"as_of": str(job.config.data.as_of)} if job.config.data.as_of else {}),
        **(more_tags or {}),
    }
    params = tracking.run_params(job.config, dataset, job.base)
    run_id = tracking.start_run(job.settings, job.config, step.digest, params=params, tags=tags)
    with tracking.running(job.settings, run_id):
        tracking.log_tokens(job.settings, run_id, tokens)
        tracking.log_recipe(job.settings, run_id, recipe_of(job.inputs, dataset, tokens))
        yield run_id


def recorded(job: Job, digest: str, error: RejectedData) -> RejectedData:
    """The error with its MLflow run, after a stopped delivery is shown there and in Prefect.

    An MLflow that is away must not hide the reason.
    """
    from components import tracking

    report = Path(error.report, "validation.md")
    if report.exists():
        artifacts.publish_file(job.config.name, "validation-report", report)
    try:
        run_id = tracking.start_run(job.settings, job.config, digest, tags={"flow_run": str(flow_run.id or "")})
        tracking.log_rejection(job.settings, run_id, error)
        tracking.finish_run(job.settings, run_id, "FAILED")
    except ProjectError as away:
        log.warning("The rejection is not in MLflow: %s", away.problem)
        return error
    return RejectedData(error.problem, error.hint, error.report, run_id)
