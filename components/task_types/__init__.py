"""The task types, found by looking into this folder: adding one is adding a file."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from components.errors import ConfigError
from components.task_types.base import (
    Answer,
    Arrays,
    Column,
    Fault,
    Features,
    Row,
    Run,
    Spec,
    Statistic,
    TaskType,
    Windows,
)

__all__ = [
    "Answer",
    "Arrays",
    "Column",
    "Fault",
    "Features",
    "Row",
    "Run",
    "Spec",
    "Statistic",
    "TaskType",
    "Windows",
    "find_task_type",
    "task_type_names",
]


NOT_TYPES = ("base", "looks", "shapes")


def task_type_names() -> list[str]:
    """Names of all task types, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NOT_TYPES)


@cache
def find_task_type(name: str) -> TaskType:
    """The task type of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in task_type_names():
        raise ConfigError(
            f"There is no task type '{name}'.", f"set task_type to one of: {', '.join(task_type_names())}."
        )
    task_type: TaskType = import_module(f"{__name__}.{name}").TASK_TYPE
    return task_type
