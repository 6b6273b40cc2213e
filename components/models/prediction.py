"""Answers for every row of a file: a model directory and a data file in, a file with one line a row out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.data.data_files import columns_of, find_files, nearest_column, read_rows
from components.data.rows import LINE
from components.errors import DataError
from components.models.inference import Predictor
from components.models.model_directory import read_golden
from components.step_store import storage_errors

ROWS_AT_A_TIME = 2048
TOP_K = 3  # likeliest labels that a line names
NO_TEXT = "the text is missing or blank"


def predict_file(
    model: Path,
    source: Path,
    target: Path,
    columns: Mapping[str, str],
    *,
    options: Mapping[str, Any] | None = None,
    top_k: int = TOP_K,
    device: str = "cpu",
) -> int:
    """Write the answer to each row of `source` into `target`, JSON lines or CSV by its name; returns the rows.

    An answer has the keys that the endpoint gives; in CSV, lists are JSON text. A row that cannot be answered, such as
    one without a text, stays in its place with a `problem`.

    Args:
        columns: the project's names (text, text_pair) to those of the file.
        options: what else is asked about every row, such as the labels of a zero-shot model.
        top_k: how many of the likeliest an answer names.

    Raises:
        DataError: the source cannot be read, or the target is of another kind.
        StorageError: the target cannot be written.
    """
    if target.suffix not in (".jsonl", ".csv"):
        raise DataError(f"{target} is neither .jsonl nor .csv.", "name the output file with one of these endings.")
    predictor = Predictor.load(model, device)
    wanted = {name: columns.get(name, name) for name in read_golden(model)[0].row}
    file = one_file(source)
    require_folder(target)
    with storage_errors(target):
        draft = target.with_name(f".{target.name}.part")
        try:
            fields = ("row", *read_golden(model)[0].answer, "problem")
            answers = _answers(predictor, rows_of(file, wanted, options or {}), file.name, top_k)
            count = _write(draft, target.suffix, fields, answers)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return count


def one_file(source: Path) -> Path:
    """The file that a path or glob names.

    Raises:
        DataError: there is none, or more than one.
    """
    found = find_files([str(source)], Path())
    if len(found) > 1:
        raise DataError(f"{source} names {len(found)} files.", "name one file, and run once for each.")
    return found[0]


def require_folder(target: Path) -> None:
    """That a file can be written where somebody wants it.

    Raises:
        DataError: its folder is not there.
    """
    if not target.parent.is_dir():
        raise DataError(f"There is no folder {target.parent}.", "make it, or name another output file.")


Found = tuple[int, dict[str, Any] | None, str]  # number of a row in its file, what is asked, or why nothing is


def rows_of(path: Path, columns: Mapping[str, str], options: Mapping[str, Any]) -> list[Found]:
    """The rows of a file in their order, with what else is asked about each.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    _require_columns(path, columns)
    read = read_rows(path, dict.fromkeys(columns.values(), "text"))
    found: list[Found] = [(bad.line, None, f"cannot be read: {bad.reason}") for bad in read.bad]
    for values in read.table.to_pylist():
        row = {ours: values[theirs] for ours, theirs in columns.items()}
        whole = all(text and text.strip() for text in row.values())
        found.append((values[LINE], {**row, **options} if whole else None, "" if whole else NO_TEXT))
    return sorted(found, key=lambda item: item[0])


def _require_columns(path: Path, columns: Mapping[str, str]) -> None:
    present = columns_of(path)
    lacking = {ours: theirs for ours, theirs in columns.items() if theirs not in present}
    if lacking and present:
        likely = {ours: nearest_column(ours, present) or "COLUMN" for ours in lacking}
        raise DataError(
            f"{path.name} has no column {' and '.join(map(repr, lacking.values()))}; it has: "
            f"{', '.join(map(repr, present))}.",
            f"say what they are called: {' '.join(f'--column {ours}={theirs}' for ours, theirs in likely.items())}.",
        )


def _answers(predictor: Predictor, found: Sequence[Found], file: str, top_k: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(found), ROWS_AT_A_TIME):
        part = found[start : start + ROWS_AT_A_TIME]
        answers = iter(predictor.predict([row for _, row, _ in part if row is not None]))
        for line, row, problem in part:
            said = predictor.task_type.present(next(answers), top_k) if row is not None else {}
            yield {"row": f"{file}:{line}", **said, "problem": problem or None}


def _write(path: Path, kind: str, fields: Sequence[str], answers: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, fields)
        if kind == ".csv":
            table.writeheader()
        for count, answer in enumerate(answers, 1):  # noqa: B007 - the count is what is returned
            if kind == ".csv":
                table.writerow({name: _cell(value) for name, value in answer.items()})
            else:
                file.write(json.dumps({name: answer.get(name) for name in fields}, ensure_ascii=False) + "\n")
    return count


def _cell(value: Any) -> Any:
    """What a table cannot hold in one cell becomes JSON text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
