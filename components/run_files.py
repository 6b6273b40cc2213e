"""Run files: YAML in, a frozen `RunConfig` out, all errors at once with their lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ValidationError

from components.config import RunConfig
from components.errors import ConfigError
from components.pretraining_config import PretrainingConfig
from components.task_types import TaskType, find_task_type, task_type_names
from components.type_settings import Place, with_defaults, wrong_checks, wrong_for_type, wrong_settings


def read_run_file(path: Path) -> RunConfig:
    """The settings in a YAML run file.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, or some keys are wrong; all of them are named.
    """
    content, lines = _read(path)
    if is_pretraining(content):
        raise ConfigError(f"{path} describes a pretraining: it has a corpus.", f"run 'rebert pretrain {path}'.")
    task_type = _task_type(content)
    problems = _wrong_names(content)
    if task_type:
        problems += [*wrong_for_type(content, task_type), *wrong_checks(content, task_type)]
        wrong = wrong_settings(content, task_type)
        problems += [(item["loc"], _sentence(item, task_type.settings, item["loc"][1:])) for item in wrong]
        content = with_defaults(content, task_type)
    try:
        config = RunConfig.model_validate({**content, "folder": path.resolve().parent})
    except ValidationError as error:
        problems += [(item["loc"], _sentence(dict(item), RunConfig, item["loc"])) for item in error.errors()]
        raise _all_errors(path, problems, lines) from error
    if problems:
        raise _all_errors(path, problems, lines)
    return config


def with_data_of(config: RunConfig, day: date | None) -> RunConfig:
    """The same settings with the data of a day only; None leaves the data as it is.

    Raises:
        ConfigError: the run file does not say what dates its data, or the day has not been yet.
    """
    if day is None:
        return config
    if config.data.dated_by is None:
        raise ConfigError(
            f"The run file of '{config.name}' does not say what dates its data.",
            "set data.dated_by: path (a date in the files' paths), modified (their times) or column:NAME.",
        )
    today = datetime.now(ZoneInfo(config.schedule.timezone)).date()
    if day > today:
        raise ConfigError(f"{day} has not been yet: today is {today}.", "name a day that has been.")
    return config.model_copy(update={"data": config.data.model_copy(update={"as_of": day})})


def read_pretraining_file(path: Path) -> PretrainingConfig:
    """The settings in a YAML run file of a pretraining.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, of another kind, or some keys are wrong.
    """
    content, lines = _read(path)
    if "data" in content and not is_pretraining(content):
        raise ConfigError(f"{path} describes a fine-tuning: it has data and no corpus.", f"run 'rebert run {path}'.")
    problems: list[tuple[Place, str]] = [(("folder",), "unknown key 'folder'")] if "folder" in content else []
    try:
        config = PretrainingConfig.model_validate({**content, "folder": path.resolve().parent})
    except ValidationError as error:
        problems += [(item["loc"], _sentence(dict(item), PretrainingConfig, item["loc"])) for item in error.errors()]
        raise _all_errors(path, problems, lines, "rebert schema --pretraining") from error
    if problems:
        raise _all_errors(path, problems, lines, "rebert schema --pretraining")
    return config


def is_pretraining(content: Mapping[str, Any]) -> bool:
    """Whether a run file's content is that of a pretraining."""
    return "corpus" in content and "data" not in content


def _read(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    content, lines = _load(path, _read_text(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no settings.", "start from a file in examples/, or run 'rebert init DATA'.")
    return content, lines


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no run file {path}.", "name an existing one, or run 'rebert init DATA'."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}).", "save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "name a YAML file that you may read.") from error


def _load(path: Path, text: str) -> tuple[Any, dict[Place, int]]:
    """The content, and the line of each key."""
    try:
        content = yaml.safe_load(text)
        lines = dict(_walk(yaml.compose(text, Loader=yaml.SafeLoader), ()))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}.", "mend that line.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as the 31st of February
        raise ConfigError(f"{path} is not valid YAML: {error}.", "save it as plain text.") from error
    return content, lines


def _walk(node: yaml.Node | None, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' stands there twice, first in line {seen[key.value]}",
                    problem_mark=key.start_mark,
                )
            seen[key.value] = key.start_mark.line + 1
            yield (*place, key.value), key.start_mark.line + 1
            yield from _walk(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*place, index), item.start_mark.line + 1
            yield from _walk(item, (*place, index))


def _task_type(content: Mapping[str, Any]) -> TaskType | None:
    """The task type that judges the rest of the file; of a misspelled name the nearest, None where nothing is near."""
    name = content.get("task_type", RunConfig.model_fields["task_type"].default)
    meant = get_close_matches(str(name), task_type_names(), n=1)
    return find_task_type(meant[0]) if meant else None


def _wrong_names(content: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Names that the settings themselves do not know."""
    found: list[tuple[Place, str]] = []
    if "folder" in content:  # ours, not the user's
        found.append((("folder",), "unknown key 'folder'"))
    task_type = content.get("task_type")
    if isinstance(task_type, str) and task_type not in task_type_names():
        known = ", ".join(task_type_names())
        found.append((("task_type",), f"task_type: there is no '{task_type}'; known are {known}"))
    return found


def _all_errors(
    path: Path, problems: Sequence[tuple[Place, str]], lines: Mapping[Place, int], schema: str = "rebert schema"
) -> ConfigError:
    found = sorted((_line(place, lines), sentence) for place, sentence in problems)
    listed = [f"{path}:{line}: {sentence}" for line, sentence in dict.fromkeys(found)]
    remedy = "correct that key" if len(listed) == 1 else f"correct these {len(listed)} keys"
    return ConfigError("\n".join(listed), f"{remedy}; '{schema}' prints every key with its meaning.")


def _line(place: Place, lines: Mapping[Place, int]) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _sentence(item: dict[str, Any], section: type[BaseModel], inner: Place) -> str:
    """What pydantic says about a value, for people; `inner` is its place in `section`."""
    place = tuple(part for part in item["loc"] if not str(part).startswith("function-"))
    key = ".".join(str(part) for part in place)
    match item["type"]:
        case "missing":
            return f"the key '{key}' is missing"
        case "extra_forbidden":
            return f"unknown key '{key}'{_suggestion(section, inner)}"
        case "value_error":
            return f"{key}: {item['ctx']['error']}"
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{key}: {message}, not {item['input']!r}"


def _suggestion(section: Any, place: Place) -> str:
    for part in place[:-1]:
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return ""
    known = [name for name in section.model_fields if name != "folder"]
    close = get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(known) or 'none'}"
