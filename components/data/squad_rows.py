"""SQuAD documents: one nested JSON object in, a row for each question out.

`{"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}]}]}`, version
1.1 or 2.0. Rows are named by the running number of their question, as the lines of such a file mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.data.rows import Kind, Rows, RowsBuilder, as_cells, kind_of
from components.data.text_lines import BYTE_ORDER_MARK, LOOK_BYTES
from components.errors import DataError

SQUAD_COLUMNS = ("id", "context", "question", "answers", "is_impossible")
# A row of JSON lines that has a column "data" is no such document: it has no paragraphs in it.
_START = re.compile(rb'^\s*\{(?=.*"data"\s*:\s*\[\s*\{).*"paragraphs"\s*:\s*\[', re.DOTALL)


def is_squad(path: Path) -> bool:
    """Whether a file begins as a SQuAD document does."""
    with path.open("rb") as file:
        return bool(_START.match(file.read(LOOK_BYTES).removeprefix(BYTE_ORDER_MARK)))


def read_squad(path: Path, columns: Mapping[str, Kind]) -> Rows:
    """The wanted ones of SQUAD_COLUMNS; LINE is the number of the question, counted from 1.

    Raises:
        DataError: the document is not whole, or not nested as SQuAD is.
    """
    builder = RowsBuilder(list(columns))
    for number, record in enumerate(_questions(path, _document(path)), 1):
        builder.add(number, as_cells(builder, record, columns))
    return builder.build()


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        place = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise DataError(f"{path.name} is not a whole SQuAD document: {place}.", "write or copy it again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start:,}).", "save it as UTF-8.") from error
    except RecursionError as error:
        raise DataError(f"{path.name} is nested too deeply.", "write it as SQuAD documents are.") from error


def _questions(path: Path, document: Any) -> Iterator[dict[str, Any]]:
    for article, place in _each(path, document, "data", ""):
        for paragraph, inner in _each(path, article, "paragraphs", place):
            context = paragraph.get("context")
            if not isinstance(context, str):
                raise _broken(path, inner, "has no text 'context'")
            for question, where in _each(path, paragraph, "qas", inner):
                yield {
                    "id": question.get("id"),
                    "context": context,
                    "question": question.get("question"),
                    "answers": _answers(path, question, where),
                    "is_impossible": question.get("is_impossible"),
                }


def _each(path: Path, holder: Any, key: str, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects in a list of the document, each with its place."""
    items = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(items, list):
        raise _broken(path, place or "the document", f"has no list '{key}'")
    for number, item in enumerate(items):
        where = f"{place}.{key}[{number}]".lstrip(".")
        if not isinstance(item, dict):
            raise _broken(path, where, f"is {kind_of(item)}, not an object")
        yield item, where


def _answers(path: Path, question: Mapping[str, Any], place: str) -> Any:
    """The answers as flat data sets have them; None where the key is missing, as in test files without a truth."""
    found = question.get("answers")
    if question.get("is_impossible") is True:
        found = []  # what some writers leave there is plausible, and wrong
    if not isinstance(found, list):
        return found
    if not all(isinstance(answer, dict) and {"text", "answer_start"} <= set(answer) for answer in found):
        raise _broken(path, place, "has an answer without 'text' and 'answer_start'")
    return {key: [answer[key] for answer in found] for key in ("text", "answer_start")}


def _broken(path: Path, place: str, problem: str) -> DataError:
    return DataError(
        f"{path.name} is no SQuAD document: {place} {problem}.", "mend it there, and write the file again."
    )
