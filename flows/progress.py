"""What a run tells while it is at work: steps that begin, go on and end. Who listens decides how it looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal, Protocol

log = logging.getLogger("rebert.run")


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One finished step of a run; `detail` is what came of it in a few words."""

    name: str
    outcome: Literal["ran", "reused"]
    seconds: float
    detail: str


class Listener(Protocol):
    """Gets told of a run's progress."""

    def started(self, step: str) -> None:
        """A step begins."""

    def progressed(self, step: str, share: float, text: str) -> None:
        """A step is `share` (0 to 1) done."""

    def finished(self, outcome: StepOutcome) -> None:
        """A step has ended well."""


class Silence:
    """A listener that does nothing: scheduled runs have Prefect's log and artifacts."""

    def started(self, step: str) -> None:
        pass

    def progressed(self, step: str, share: float, text: str) -> None:
        pass

    def finished(self, outcome: StepOutcome) -> None:
        pass


@dataclass
class RunLog:
    """The steps that a run has done so far; also after it has failed."""

    listener: Listener = field(default_factory=Silence)
    steps: list[StepOutcome] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[StepNote]:
        """Time a step; it is logged only when it ends well."""
        self.listener.started(name)
        begun = monotonic()
        note = StepNote()
        yield note
        outcome = StepOutcome(name, "reused" if note.reused else "ran", round(monotonic() - begun, 2), note.detail)
        self.steps.append(outcome)
        log.info("%s %s in %.1f s: %s", name, outcome.outcome, outcome.seconds, outcome.detail)
        self.listener.finished(outcome)


@dataclass
class StepNote:
    """What a step says of itself while it is being timed."""

    reused: bool = False
    detail: str = ""


# A flow's parameters must be plain values that Prefect can store, so what listens reaches it by this variable.
current_log: ContextVar[RunLog | None] = ContextVar("current_log", default=None)


def log_everything() -> None:
    """Let all that our own code says reach Prefect's log: else the root logger's level keeps back all but warnings."""
    logging.getLogger("rebert").setLevel(logging.INFO)


def run_log() -> RunLog:
    """The log of the run that is at work in this context."""
    found = current_log.get()
    if found is None:
        found = RunLog()
        current_log.set(found)
    return found
