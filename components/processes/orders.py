"""What one process asks of another, and how it is said: JSON goes there, JSON lines come back, no pickles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from components import errors
from components.errors import ProjectError, RejectedData
from components.training.training_history import Progress

JOB = "job.json"
COMPUTING_HOURS = 4.0  # more than any of it takes; where it hangs, the run ends

Record = TypeVar("Record")
ProgressListener = Callable[[Progress], None]
Work = Callable[[Mapping[str, Any], ProgressListener | None], Any]


@dataclass(frozen=True, slots=True)
class Order:
    """Work for another process.

    Args:
        work: `module:function`; gets the content with its `folder`, and a listener, and returns a record.
        content: what the function needs beside its folder, as JSON.
        subject: of messages, such as "The training of 'reviews'".
        max_hours: how long it may take.
        limit: where that comes from, in words.
        when_late: what to do when it took longer.
        when_killed: what to do when memory ran out.
        log: name of the file in its folder that gets what it prints.
        trains: whether it learns something; libraries keep more of that than the next training should find.
    """

    work: str
    content: Mapping[str, Any]
    subject: str
    max_hours: float
    limit: str
    when_late: str
    when_killed: str
    log: str
    trains: bool = False


def computing_order(work: str, content: Mapping[str, Any], subject: str, log: str, when_late: str) -> Order:
    """The order for work that learns nothing; see `Order`."""
    return Order(
        work=work,
        content=content,
        subject=subject,
        max_hours=COMPUTING_HOURS,
        limit=f"{COMPUTING_HOURS:g} hours",
        when_late=when_late,
        when_killed="lower model.max_length, or use a machine with more memory.",
        log=log,
    )


def write_job(order: Order, folder: Path) -> Path:
    """The order as a file in its folder, which is made; gone when the work is done."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOB
    path.write_text(json.dumps({"work": order.work, **order.content, "folder": str(folder)}), encoding="utf-8")
    return path


def record(kind: type[Record], values: Any) -> Record:
    """A record from its JSON values."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(values)


def error_content(error: ProjectError) -> Mapping[str, Any]:
    """An error as JSON."""
    own = {"report": error.report} if isinstance(error, RejectedData) else {}
    return {"class": type(error).__name__, "problem": error.problem, "hint": error.hint, **own}


def error_of(content: Mapping[str, Any]) -> ProjectError:
    """The error that the other process raised."""
    kind: type[ProjectError] = getattr(errors, content["class"])
    if issubclass(kind, RejectedData):
        return kind(content["problem"], content["hint"], report=content["report"])
    return kind(content["problem"], content["hint"])
