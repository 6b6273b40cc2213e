"""What a supervised program is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["waiting", "starting", "healthy", "failing", "stopped"]


@dataclass(frozen=True)
class Program:
    """A program and how it is asked for its health.

    Args:
        name: what people call it, such as `mlflow`.
        command: program and arguments; everybody on the machine may read them, so no secret.
        environment: all variables that it gets.
        healthy: whether it answers; takes two seconds at most, and raises nothing.
        log: file that its output goes to.
        address: where people reach it; empty for what has no page.
        after: asked before each start: whether what it needs is there.
        ready_seconds: from its start to its first good answer, at most.
        stop_seconds: between asking it to end and ending it.
        orphans: what it started may go on when it dies itself.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    healthy: Callable[[], bool]
    log: Path
    address: str = ""
    after: Callable[[], bool] = lambda: True
    ready_seconds: float = 180.0
    stop_seconds: float = 20.0
    orphans: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """How a program is at one moment.

    Args:
        name: of the program.
        state: `waiting` for what it needs, `starting` without an answer yet, `failing` until the next start.
        address: where people reach it.
        process: its number, None while it does not run.
        restarts: starts after the first one.
        note: what is wrong, in one sentence.
    """

    name: str
    state: State
    address: str = ""
    process: int | None = None
    restarts: int = 0
    note: str = ""
    log: str = ""


Listener = Callable[[Condition], None]
