"""The look at the training labels: a step of its own, where the run file asks for it."""

from __future__ import annotations

from prefect import task

from components.errors import RejectedData
from components.records import ValidatedDataset
from components.step_parts import noise_step
from components.validation.noisy_rows import LabelNoise
from flows import artifacts
from flows.job import Job
from flows.task_options import STORED
from flows.tracked import recorded


@task(name="label noise", retries=1, retry_delay_seconds=5, timeout_seconds=4 * 3600, tags=["data"], **STORED)
def look_at_labels(job: Job, dataset: ValidatedDataset) -> LabelNoise | None:
    """What was found among the training labels, with the rows that go on; None where the run file asks for nothing."""
    from components.validation.noise_process import look_for_noise_in_process

    if job.config.validation.label_noise == "off":
        return None
    step, device = noise_step(job.inputs, dataset), job.inputs.hardware.split()[0]
    try:
        found = job.perform(
            step,
            LabelNoise,
            lambda folder: look_for_noise_in_process(job.process, job.config, dataset, job.base, folder, device),
            lambda made: f"about {made.share:.1%} wrong, {made.suspects:,} suspects, {made.removed:,} removed",
        )
    except RejectedData as error:
        raise recorded(job, step.digest, error) from error
    artifacts.publish_file(job.config.name, "label-noise", found.folder / "label_noise.md")
    return found
