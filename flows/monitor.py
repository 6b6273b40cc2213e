"""The flow that watches a live model: what was asked since the last look against what it was trained for."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Completed

from components.config import RunConfig
from components.errors import ConfigError, ProjectError
from components.monitoring.monitor_report import report_content, report_in_words
from components.notices import Notice
from components.run_files import read_run_file
from components.settings import Settings, apply_settings, read_settings
from flows import artifacts
from flows.monitoring import find_subject, judge
from flows.notifying import in_a_line, read_or_tell, send_once, settings_of

NOT_JUDGED = "TooFew"


def _run_name() -> str:
    return f"monitor {Path(flow_run.parameters['run_file']).stem}"


def _crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect calls it
    """Prefect's hook, called by the worker whose child died."""
    settings, run_file = settings_of(flow_run), flow_run.parameters["run_file"]
    with suppress(ConfigError):
        config = read_run_file(Path(run_file))
        if "crashed" in config.notify.of:
            why = "The monitor's process died, as of a lack of memory, or with its machine. It looks again as planned."
            look = f"rebert monitor {shlex.quote(run_file)}"
            send_once(settings, Notice(config.name, "crashed", config.notify.to, why, look, f"run {flow_run.id}"))


@flow(name="monitor", flow_run_name=_run_name, log_prints=False, validate_parameters=True, on_crashed=[_crashed])
def monitor(run_file: str) -> Any:
    """Judge the next window of a model's traffic; tell of an alarm or have the model run, once for each event.

    Args:
        run_file: path of the run file, as the process that runs the flow sees it.

    Returns:
        A completed state named after the verdict; its data is the report.

    Raises:
        ProjectError: something that a person can mend.
    """
    settings = read_settings(os.environ, Path.cwd())
    apply_settings(settings)
    config = read_or_tell(settings, Path(run_file))
    try:
        judged = judge(find_subject(run_file, settings))
    except Exception as error:
        _tell(config, settings, run_file, error)
        raise
    found, action = judged.look, judged.action
    artifacts.publish_text(config.name, "monitor", f"{report_in_words(found, action)}\n{judged.pictures}")
    name = found.verdict.capitalize() if found.verdict else NOT_JUDGED
    return Completed(name=name, message=found.reason[:500], data=report_content(found, action))


def _tell(config: RunConfig, settings: Settings, run_file: str, error: Exception) -> None:
    """A monitor that cannot look is told once a day: silence would be taken for "ok"."""
    if "failed" in config.notify.of:
        said = f"{error.problem} To fix: {error.hint}" if isinstance(error, ProjectError) else in_a_line(error)
        why, event = f"The monitor cannot look. {said}", f"monitor, {datetime.now(UTC).date()}: {said}"
        look = f"rebert monitor {shlex.quote(run_file)}"
        send_once(settings, Notice(config.name, "failed", config.notify.to, why, look, event))
