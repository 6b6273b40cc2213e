"""From the columns of a file to what all task types share: texts and one `label`, or the reason why a row has none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from components.data.rows import Rows, RowsBuilder
from components.task_types import Fault, TaskType
from components.validation.checks import has_truth

CHUNK_ROWS = 1 << 14


def canonical_roles(task_type: TaskType, roles: Collection[str]) -> tuple[str, ...]:
    """The texts among these roles in the order of the type, and `label` where rows have a true answer."""
    texts = tuple(role for role in task_type.texts if role in roles)
    return (*texts, "label") if has_truth(task_type) else texts


def rewrite(
    table: Any, roles: Mapping[str, str], task_type: TaskType, settings: Mapping[str, Any], skipped: Collection[int]
) -> tuple[Rows, dict[int, Fault]]:
    """What the task type reads in each row, parallel to `table`, and the rows that it cannot read or had to mend.

    Args:
        table: columns by their names in the file.
        roles: the columns to read: the project's name for each to the file's.
        task_type: one that rewrites.
        settings: the section `task` of the run file.
        skipped: positions of rows that hold something other than text; they are not read, and are null.
    """
    columns = canonical_roles(task_type, task_type.texts)
    builder = RowsBuilder(columns)
    faults: dict[int, Fault] = {}
    seen = set(columns) - {column.role for column in task_type.roles().values() if column.optional}
    settings = task_type.settings_of_file(_each_row(table, roles), settings)
    for row, values in enumerate(_each_row(table, roles)):
        read = {} if row in skipped else task_type.read(values, settings)
        if isinstance(read, Fault):
            faults[row] = read
            read = read.row or {}
        seen.update(read)
        builder.add(row, [read.get(column) for column in columns])
    rows = builder.build()
    # An optional text is a column only where rows have one.
    return replace(rows, table=rows.table.select([column for column in columns if column in seen])), faults


def _each_row(table: Any, roles: Mapping[str, str]) -> Iterator[dict[str, str | None]]:
    """Rows chunk by chunk, so that few Python strings live at a time."""
    for start in range(0, len(table), CHUNK_ROWS):
        chunk = table.slice(start, CHUNK_ROWS)
        for values in zip(*(chunk[name].to_pylist() for name in roles.values()), strict=True):
            yield dict(zip(roles, values, strict=True))
