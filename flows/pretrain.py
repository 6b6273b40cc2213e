"""The flow that makes a base model from raw text. It reads like what it does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from components.records import TrainedModel, as_json
from components.registry.single_flight import single_flight
from components.run_files import read_pretraining_file
from components.settings import apply_settings, read_settings
from flows import pretraining as steps
from flows.pretraining import Pretraining, open_pretraining
from flows.progress import log_everything, run_log
from flows.results import RunResult
from flows.retrain import judge


def _run_name() -> str:
    return f"{Path(flow_run.parameters['run_file']).stem}"


@flow(name="pretrain", flow_run_name=_run_name, log_prints=False, validate_parameters=True)
def pretrain(run_file: str) -> Any:
    """Read the text, make a vocabulary and examples, train phase by phase; then judge it like any other model.

    Args:
        run_file: path of the run file, as the process that runs the flow sees it.

    Returns:
        A completed state named after the outcome; its data is the content of a `RunResult`.

    Raises:
        ProjectError: something that a person can mend; a refused promotion is none.
    """
    settings = read_settings(os.environ, Path.cwd())
    apply_settings(settings)  # for runs that a worker starts: telemetry off, no hub, short waits
    log_everything()
    config = read_pretraining_file(Path(run_file))
    with single_flight(settings, config.name):
        result = run_pretraining(open_pretraining(config, settings, run_log()))
    return Completed(name=result.outcome.capitalize(), message=result.reason, data=as_json(result))


def run_pretraining(run: Pretraining) -> RunResult:
    """All steps of a pretraining, in their order."""
    from components import tracking

    dataset = steps.corpus(run)
    base = steps.vocabulary(run, dataset)
    run = run.with_base(base)
    made = steps.examples(run, dataset, base)
    models: list[TrainedModel] = []
    with steps.tracked(run, made) as run_id:
        for number in range(1, len(run.config.phases) + 1):
            before = models[-1] if models else None
            models.append(steps.pretrain_phase(run, run_id, number, dataset, made, before))
        with run.job.process:
            result = judge(run.job, run_id, dataset, models[-1])
    return replace(result, metrics={**result.metrics, **tracking.tell_phases(models)})
