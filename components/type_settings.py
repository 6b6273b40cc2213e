"""What a run file says that only its task type can judge: columns, settings, metric, labels, weights, checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from components.records import Severity
from components.task_types import TaskType
from components.validation.checks import checks_of, explain_severity, has_truth
from components.validation.expectations import explain_name

Place = tuple[str | int, ...]
Problems = Iterator[tuple[Place, str]]


def with_defaults(content: Mapping[str, Any], task_type: TaskType) -> dict[str, Any]:
    """The content of a run file with what is left out and follows from the task type."""
    filled = dict(content)
    if isinstance(evaluation := filled.get("evaluation", {}), dict):
        filled["evaluation"] = {"metric": task_type.metric_names[0], **evaluation}
    try:
        settings = task_type.settings.model_validate(filled.get("task", {}))
    except ValidationError:
        return filled  # `wrong_settings` says why
    return {**filled, "task": settings.model_dump(mode="json")}


def wrong_for_type(content: Mapping[str, Any], task_type: TaskType) -> Problems:
    """What this task type does not know or cannot do, each with its place."""
    data, training, evaluation = (_section(content, name) for name in ("data", "training", "evaluation"))
    roles = task_type.roles()
    for role in _section(data, "columns"):
        if role not in roles:
            place: Place = ("data", "columns", role)
            yield place, f"data.columns: {task_type.name} has no column '{role}'; known are {', '.join(roles)}"
    metric = evaluation.get("metric")
    if isinstance(metric, str) and metric not in task_type.metric_names:
        known = ", ".join(task_type.metric_names)
        yield ("evaluation", "metric"), f"evaluation.metric: {task_type.name} has no '{metric}'; known are {known}"
    if evaluation.get("behaviour") and not (task_type.has_labels and task_type.explains):
        place = ("evaluation", "behaviour")
        yield place, f"evaluation.behaviour: {task_type.name} has no labels with scores; leave the key out"
    noise = _section(content, "validation").get("label_noise", "off")
    if noise not in ("off", False) and not _has_labels_of_texts(task_type):
        place = ("validation", "label_noise")
        yield place, f"validation.label_noise: {task_type.name} has no labels of whole texts; leave the key out"
    if training.get("class_weights") == "balanced" and not task_type.balances:
        yield (
            ("training", "class_weights"),
            f"training.class_weights: {task_type.name} does not weigh labels; leave the key out",
        )
    if data.get("feedback") and not (task_type.trains and has_truth(task_type)):
        yield ("data", "feedback"), f"data.feedback: {task_type.name} learns from no true answers; leave the key out"
    if data.get("labels") is not None and not task_type.has_labels:
        yield ("data", "labels"), f"data.labels: {task_type.name} has no set of labels; leave the key out"


def _has_labels_of_texts(task_type: TaskType) -> bool:
    """One label a row, or several; entities are labels of parts of a text."""
    return task_type.trains and task_type.has_labels and task_type.targets_are in ("one", "vector")


def wrong_settings(content: Mapping[str, Any], task_type: TaskType) -> list[dict[str, Any]]:
    """What is wrong in the section `task`, as pydantic has it, by its place in the run file."""
    task = content.get("task", {})
    if not isinstance(task, dict):
        return []  # the run file's own settings say so
    try:
        task_type.settings.model_validate(task)
    except ValidationError as error:
        return [{**item, "loc": ("task", *item["loc"])} for item in error.errors()]
    return []


def wrong_checks(content: Mapping[str, Any], task_type: TaskType) -> Problems:
    """Names of checks and expectations that there are not, and severities that a check cannot have."""
    validation = _section(content, "validation")
    checks = checks_of(task_type)
    for name, severity in _section(validation, "severity").items():
        if isinstance(name, str) and (name not in checks or severity in get_args(Severity)):
            yield from _named(("validation", "severity", name), explain_severity(name, severity, checks))
    own = validation.get("expectations")
    for number, expectation in enumerate(own if isinstance(own, list) else ()):
        wanted = expectation.get("type") if isinstance(expectation, dict) else None
        if isinstance(wanted, str):
            yield from _named(("validation", "expectations", number, "type"), explain_name(wanted))


def _named(place: Place, sentence: str | None) -> Problems:
    if sentence:
        yield place, f"{'.'.join(map(str, place))}: {sentence}"


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section as far as it is one; where it is not, the run file's own settings say so."""
    section = content.get(name)
    return section if isinstance(section, dict) else {}
