"""The process that computes for a run: started as soon as a plan says that it will be needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from components.config import RunConfig
from components.processes.compute_process import ComputeProcess
from components.settings import Settings

if TYPE_CHECKING:
    from components.planning import Plan
    from flows.job import Job

# What the command has started before the flow began, which has a job of its own.
current: ContextVar[ComputeProcess | None] = ContextVar("current", default=None)


@contextmanager
def process_of_command(config: RunConfig, settings: Settings) -> Iterator[ComputeProcess]:
    """The process for the runs inside; ended with them, as the job of a run ends it."""
    with ComputeProcess(config.training, settings) as process:
        before = current.set(process)
        try:
            yield process
        finally:
            current.reset(before)


def start_ahead(job: Job, plan: Plan) -> None:
    """Let the process import its libraries while the data is validated, if something will be learned."""
    if any(step.name in ("tokenize", "fine_tune") and step.action == "run" for step in plan.steps):
        job.process.start()
