"""The corrections that an endpoint was sent, as rows to train on: of each row the newest, with where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.step_store import storage_errors, write_whole
from components.task_types import find_task_type, task_type_names

# What says which row a line is about: the texts of all task types.
INPUTS = tuple(dict.fromkeys(text for name in task_type_names() for text in find_task_type(name).texts))


@dataclass(frozen=True, slots=True)
class WrittenCorrections:
    """`rows` were written; `replaced` ones were corrected again later, `broken` lines are none."""

    rows: int
    replaced: int
    broken: int


def write_corrections(source: Path, target: Path) -> WrittenCorrections:
    """Write the newest correction of each row, in the order in which they came.

    Raises:
        DataError: there are none, or the target is no JSONL file.
        StorageError: the target cannot be written.
    """
    if target.suffix != ".jsonl":
        raise DataError(f"{target} is not named .jsonl.", "name the output file with this ending.")
    if not source.exists():
        raise DataError("No corrections have been sent to an endpoint of this model.", "send some to POST /feedback.")
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    lines = broken = 0
    for line in _lines(source):
        lines += 1
        if line is None:
            broken += 1
            continue
        key = tuple(line.get(name) for name in INPUTS)
        newest.pop(key, None)
        newest[key] = line
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in newest.values())
    with storage_errors(target):
        write_whole(target, text)
    return WrittenCorrections(len(newest), lines - broken - len(newest), broken)


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Each line's object; None for what a crash has left of one."""
    with path.open("rb") as file:
        for line in file:
            try:
                content = json.loads(line)
            except ValueError:
                content = None
            yield content if isinstance(content, dict) else None
