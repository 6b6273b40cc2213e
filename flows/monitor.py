"""The flow that watches a live model: what was asked since the last look against what it was trained for."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from components.config import RunConfig
from components.errors import ProjectError
from components.monitoring.monitor_report import report_content, report_in_words
from components.notices import Notice
from components.settings import Settings, apply_settings, read_settings
from flows import artifacts
from flows.monitoring import find_subject, judge
from flows.notifying import read_or_tell, send_once

NOT_JUDGED = "TooFew"


def _run_name() -> str:
    return f"monitor {Path(flow_run.parameters['run_file']).stem}"


@flow(name="monitor", flow_run_name=_run_name, log_prints=False, validate_parameters=True)
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
    except ProjectError as error:
        _tell(config, settings, run_file, error)
        raise
    found, action = judged.look, judged.action
    artifacts.publish_text(config.name, "monitor", f"{report_in_words(found, action)}\n{judged.pictures}")
    name = found.verdict.capitalize() if found.verdict else NOT_JUDGED
    return Completed(name=name, message=found.reason[:500], data=report_content(found, action))


def _tell(config: RunConfig, settings: Settings, run_file: str, error: ProjectError) -> None:
    """A monitor that cannot look is told once a day: silence would be taken for "ok"."""
    if "failed" in config.notify.of:
        why = f"The monitor cannot look. {error.problem} To fix: {error.hint}"
        event = f"monitor, {datetime.now(UTC).date()}: {error.problem}"
        look = f"rebert monitor {shlex.quote(run_file)}"
        send_once(settings, Notice(config.name, "failed", config.notify.to, why, look, event))
