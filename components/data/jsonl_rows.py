"""JSON lines: one object a line. A line that is anything else is a failing row with a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.data.rows import Kind, Rows, RowsBuilder, as_cells, kind_of
from components.data.text_lines import TextLines
from components.errors import DataError

KEYS_SEEN_IN = 1000  # rows whose keys are listed when a column is missing


class _TwiceTheSameKeyError(ValueError):
    """An object with a key twice; JSON readers would keep one of the values at will."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceTheSameKeyError(f"the key '{twice}' stands there twice")
    return content


# NaN and Infinity, which are no JSON, are how some writers spell a missing value.
_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=lambda _: None).decode


def read_jsonl(path: Path, columns: Mapping[str, Kind]) -> Rows:
    """The wanted columns of a JSON lines file: the keys, each with how its values are read.

    Raises:
        DataError: the file is one JSON document.
    """
    builder = RowsBuilder(list(columns))
    lines = TextLines(path)
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            record = _decode(line)
        except (ValueError, RecursionError) as error:
            _refuse_documents(path, number, line)
            builder.add_bad(number, _reason(error, line), line)
            continue
        if not isinstance(record, dict):
            _refuse_documents(path, number, line)
            builder.add_bad(number, f"{kind_of(record)}, not an object", line)
            continue
        builder.add(number, as_cells(builder, record, columns))
    for bad_line, reason, text in lines.bad:
        builder.add_bad(bad_line, reason, text, "encoding")
    return builder.build(lines.encoding())


def keys_of(path: Path) -> list[str]:
    """The keys in the first rows of a JSON lines file, in the order they are met."""
    keys: dict[str, None] = {}
    for number, line in enumerate(TextLines(path)):
        if number == KEYS_SEEN_IN:
            break
        try:
            record = _decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    return list(keys)


def _reason(error: Exception, line: str) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.msg == "Extra data":
        return f"more than one JSON value in the line, the second at column {error.colno}"
    if error.pos >= len(line.rstrip()) or error.msg.startswith("Unterminated"):
        return "the line is cut off: its JSON does not end"
    return f"not valid JSON: {error.msg[0].lower()}{error.msg[1:].removesuffix(' at')} at column {error.colno}"


def _refuse_documents(path: Path, number: int, line: str) -> None:
    """A list or an indented object is no JSON lines file, and should be told so once, not line by line."""
    if number != 1 or line.lstrip()[:1] not in ("[", "{") or (line.strip()[:1] == "{" and line.strip() != "{"):
        return
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    what = f"one JSON list of {len(content):,}" if isinstance(content, list) else "one JSON document"
    raise DataError(f"{path.name} is {what}, not one object a line.", f"convert it: jq -c '.[]' {path.name}.")
