"""A first look at somebody's data: the task type it is for, how many rows and labels it has, how long its texts are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.canonical_rows import canonical_roles, rewrite
from components.data.column_looks import Column, look_at_column, recognise
from components.data.data_files import columns_of, read_rows
from components.data.text import UNSPACED
from components.errors import DataError
from components.task_types import TaskType, find_task_type, task_type_names
from components.validation.checks import has_label_set
from components.validation.label_words import LabelWords, label_words

CHARACTERS_A_TOKEN = (
    3.5  # English word pieces, on the careful side; a character of a script without spaces is one token
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen.

    `columns` are the roles of the task type with the files' names. `labels` has the rows of each label, the most
    frequent first, empty where there is no set of labels; `labelled` counts rows that have an answer. `one_label`
    says that no row has several, or none by right. `task` is what the true answers ask for of the section of that name.
    """

    task_type: str
    columns: dict[str, str]
    rows: int
    labelled: int
    labels: dict[str, int]
    one_label: bool
    median_characters: int
    long_characters: int
    long_tokens: int
    mostly_chinese: bool
    task: Mapping[str, Any]

    @property
    def most(self) -> int:
        """Rows of the largest label."""
        return max(self.labels.values(), default=0)

    @property
    def least(self) -> int:
        """Rows of the smallest label."""
        return min(self.labels.values(), default=0)


def survey(files: Sequence[Path]) -> Survey:
    """Look at training files that have the same columns.

    Raises:
        DataError: a file cannot be read, or its columns are those of no task type.
    """
    names = columns_of(files[0])
    table = pa.concat_tables(read_rows(path, dict.fromkeys(names, "json")).table for path in files)
    looks = [look_at_column(name, [value or "" for value in table[name].to_pylist()]) for name in names]
    found = recognise(looks, task_type_names())
    if found is None:
        raise _unrecognised(files[0], looks)
    task_type, columns = find_task_type(found[0]), found[1]
    rows = _canonical(table, columns, task_type)
    words = label_words(rows["label"].combine_chunks(), task_type) if has_label_set(task_type) else None
    counts = words.count().most_common() if words else []
    texts = [rows[role].to_pylist() for role in rows.column_names if role != "label"]
    characters = np.sum([[len(text or "") for text in column] for column in texts], axis=0)
    unspaced = np.sum([[_unspaced(text or "") for text in column] for column in texts], axis=0)
    return Survey(
        task_type=task_type.name,
        columns=columns,
        rows=len(table),
        labelled=_labelled(words) if words else 0,
        labels=dict(counts),
        one_label=words is not None and all(len(answer) == 1 for answer in words.different),
        median_characters=int(np.percentile(characters, 50)),
        long_characters=int(np.percentile(characters, 99)),
        long_tokens=int(np.percentile(unspaced + (characters - unspaced) / CHARACTERS_A_TOKEN, 98)) + 1,
        mostly_chinese=bool(unspaced.sum() > 0.3 * characters.sum()),
        task=task_type.suggest([label for label in rows["label"].to_pylist() if label])
        if "label" in rows.column_names
        else {},
    )


def _canonical(table: Any, columns: dict[str, str], task_type: TaskType) -> Any:
    """Texts and labels as the task type reads them, with its settings at their defaults."""
    if task_type.rewrites:
        return rewrite(table, columns, task_type, task_type.settings().model_dump(mode="json"), ())[0].table
    roles = canonical_roles(task_type, columns)
    return pa.table({role: table[columns[role]] for role in roles})


def _labelled(words: LabelWords) -> int:
    return int((words.answers >= 0).sum())


def _unrecognised(path: Path, columns: Sequence[Column]) -> DataError:
    listed = ", ".join(f"'{column.name}' ({column.different} different values)" for column in columns)
    if not any(column.look == "text" and column.filled for column in columns):
        return DataError(f"{path.name} has no column that looks like a text: {listed}.", "name one of them 'text'.")
    return DataError(
        f"{path.name} has no column that looks like a label: {listed}.",
        "name the columns 'text' and 'label'. A file with nothing but texts is for fill_mask; zero_shot gives "
        "texts labels without training, and wants rows with labels to be measured on.",
    )


def _unspaced(text: str) -> int:
    return 0 if text.isascii() else len(re.findall(f"[{UNSPACED}]", text))
