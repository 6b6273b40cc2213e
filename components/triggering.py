"""When a triggered run may begin: a pause after each run, and so many in a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.config import Triggers

DAY = timedelta(days=1)  # any 24 hours: a clock that jumps changes nothing


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that has begun; `ended` is None while it is at work, `triggered` whether something else than the clock or a
    person asked for it."""

    began: datetime
    ended: datetime | None
    triggered: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """When a triggered run may begin, and why not now."""

    until: datetime
    why: str


def wait_for(limits: Triggers, past: Sequence[PastRun], now: datetime) -> Wait | None:
    """How long a triggered run has to wait; None where it may begin now.

    A run that is at work counts as ending now.
    """
    waits: list[Wait] = []
    if past:
        last = max(run.ended or now for run in past)
        pause = timedelta(minutes=limits.cooldown_minutes)
        waits.append(Wait(last + pause, f"triggers.cooldown_minutes is {limits.cooldown_minutes:g}"))
    starts = sorted((run.began for run in past if run.triggered and run.began > now - DAY), reverse=True)
    if len(starts) >= limits.max_runs_a_day:
        first = starts[limits.max_runs_a_day - 1]
        waits.append(Wait(first + DAY, f"triggers.max_runs_a_day is {limits.max_runs_a_day}"))
    longest = max(waits, key=lambda wait: wait.until, default=None)
    return longest if longest is not None and longest.until > now else None
