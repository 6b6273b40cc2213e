"""The JSON Schema of a run file, for editors: the settings, and what each task type knows beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.config import RunConfig
from components.pretraining_config import PretrainingConfig
from components.task_types import TaskType, find_task_type, task_type_names
from components.validation.checks import checks_of

SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def run_file_schema() -> dict[str, Any]:
    """JSON Schema of a run file."""
    types = [find_task_type(name) for name in task_type_names()]
    schema = RunConfig.model_json_schema()
    schema["properties"].pop("folder")
    parts = schema["$defs"]
    schema["properties"]["task_type"]["enum"] = [task_type.name for task_type in types]
    schema["properties"]["task"] |= _closed(_settings(types))
    parts["Data"]["properties"]["columns"] |= _closed(_roles(types))
    parts["Validation"]["properties"]["severity"]["propertyNames"] = {"enum": _checks(types)}
    metric = parts["Evaluation"]["properties"]["metric"]
    metric.pop("default")  # each task type has its own
    metric["enum"] = list(dict.fromkeys(name for each in types for name in each.metric_names))
    metric["description"] += f" {_metrics(types)}."
    return {"$schema": SCHEMA, **schema}


def pretraining_file_schema() -> dict[str, Any]:
    """JSON Schema of a pretraining's run file."""
    schema = PretrainingConfig.model_json_schema()
    schema["properties"].pop("folder")
    return {"$schema": SCHEMA, **schema}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": properties, "additionalProperties": False}


def _roles(types: list[TaskType]) -> dict[str, Any]:
    roles: dict[str, list[str]] = {}
    for task_type in types:
        for role, column in task_type.roles().items():
            roles.setdefault(role, []).append(f"{task_type.name} (optional)" if column.optional else task_type.name)
    return {
        role: {"type": "string", "description": f"The files' column of this; of {', '.join(having)}."}
        for role, having in roles.items()
    }


def _settings(types: list[TaskType]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task_type in types:
        for name, described in task_type.settings.model_json_schema().get("properties", {}).items():
            known = found.setdefault(name, {**described, "description": ""})
            known["description"] += f"Of {task_type.name}: {described.get('description', '')} "
    return {name: {**described, "description": described["description"].strip()} for name, described in found.items()}


def _checks(types: list[TaskType]) -> list[str]:
    return list(dict.fromkeys(name for task_type in types for name in checks_of(task_type)))


def _metrics(types: list[TaskType]) -> str:
    return "; ".join(f"{task_type.name}: {', '.join(task_type.metric_names)}" for task_type in types)
