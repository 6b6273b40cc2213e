"""The flow that pretrains on domain text, fine-tunes from it, and says whether that was worth it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from components.errors import ConfigError
from components.records import BaseModel, EvaluationReport, as_json
from components.registry.single_flight import single_flight
from components.run_files import read_pretraining_file, read_run_file
from components.settings import apply_settings, read_settings
from components.step_store import temporary_folder
from flows import artifacts, steps
from flows.job import Job, find_base_model, open_job
from flows.pretrain import run_pretraining
from flows.pretraining import open_pretraining
from flows.progress import log_everything, run_log
from flows.tracked import tracked_run


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{Path(parameters['pretraining_file']).stem} for {Path(parameters['run_file']).stem}"


@flow(name="adapt", flow_run_name=_run_name, log_prints=False, validate_parameters=True)
def adapt(pretraining_file: str, run_file: str, seeds: int = 5) -> Any:
    """Pretrain, fine-tune from the result and from the untouched base with several seeds, and compare them.

    Nothing of the fine-tunings is registered: their runs stand in the task's experiment, tagged by base and seed.

    Args:
        pretraining_file: run file of the pretraining.
        run_file: run file of the fine-tuning; its `model.base` is the untouched base.
        seeds: how many, from `training.seed` on.

    Returns:
        A completed state; its data are the pretraining's result and the comparison.

    Raises:
        ProjectError: something that a person can mend.
    """
    from components import tracking
    from components.reports.adaptation import as_markdown, compare_bases

    settings = read_settings(os.environ, Path.cwd())
    apply_settings(settings)
    log_everything()
    first, second = read_pretraining_file(Path(pretraining_file)), read_run_file(Path(run_file))
    with single_flight(settings, first.name), single_flight(settings, second.name):
        run, job = open_pretraining(first, settings, run_log()), open_job(second, settings, run_log())
        _require_same_base(run.base, job.base)
        made = run_pretraining(run)
        adapted = find_base_model(settings, f"models:/{made.model}/{made.version}", second.folder, None)
        numbers = [second.training.seed + offset for offset in range(seeds)]
        with job.process:
            before, after = _tune(job, job.base, "untouched", numbers), _tune(job, adapted, "adapted", numbers)
        with temporary_folder() as place:
            found = compare_bases(numbers, before, after, place)
            tracking.log_adaptation(settings, str(made.run_id), found, place)
    artifacts.publish_text(second.name, "adaptation", as_markdown(found))
    return Completed(
        name=found.verdict.capitalize(),
        message=found.sentence,
        data={"outcome": found.verdict, "reason": found.sentence, "pretraining": as_json(made), **as_json(found)},
    )


def _require_same_base(pretrained: BaseModel | None, tuned: BaseModel) -> None:
    if pretrained is not None and pretrained.digest != tuned.digest:
        raise ConfigError(
            f"The pretraining goes on from '{pretrained.spec}', but the fine-tuning starts from '{tuned.spec}': "
            "that is not the untouched base.",
            "name the same base in both run files.",
        )


def _tune(job: Job, base: BaseModel, arm: str, seeds: Sequence[int]) -> list[EvaluationReport]:
    """The scores on the frozen rows of a fine-tuning from a base, for each seed."""
    return [_tune_once(_with(job, base, seed), arm) for seed in seeds]


def _with(job: Job, base: BaseModel, seed: int) -> Job:
    config = job.config.model_copy(
        update={
            "model": job.config.model.model_copy(update={"base": base.spec, "sha256": None}),
            "training": job.config.training.model_copy(update={"seed": seed}),
        }
    )
    return replace(job, inputs=replace(job.inputs, config=config, base=base))


def _tune_once(job: Job, arm: str) -> EvaluationReport:
    from components import tracking

    dataset = steps.validate(job)
    tokens = steps.tokenize(job, dataset)
    seed = str(job.config.training.seed)
    with tracked_run(job, dataset, tokens, {"adaptation.base": arm, "adaptation.seed": seed}) as run_id:
        model = steps.fine_tune(job, run_id, dataset, tokens)
        report = steps.evaluate(job, dataset, model)
        tracking.log_training(job.settings, run_id, model)
        tracking.log_evaluation(job.settings, run_id, report)
    return report
