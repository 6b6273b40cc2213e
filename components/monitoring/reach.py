"""What the monitor of a run file can never do: said when the run is planned, not after a year without an alarm."""

from __future__ import annotations

from components.config import RunConfig
from components.sequences.one_label import OneLabel
from components.task_types import find_task_type


def why_no_retraining(config: RunConfig) -> str:
    """Why no alarm can ever have the model run, in a sentence; empty where one can, or where none is meant to."""
    monitor = config.monitor
    if not monitor.is_scheduled or set(monitor.retrain_on) != {"accuracy"}:
        return ""
    head = "No alarm can have the model run, people are only told: monitor.retrain_on names accuracy alone, and"
    if not isinstance(find_task_type(config.task_type), OneLabel):
        return f"{head} models of the type {config.task_type} have none by feedback. Name other measures there."
    if monitor.feedback != "sample":
        return f"{head} that is judged only with monitor.feedback: sample. Set that, or name other measures there."
    return ""
