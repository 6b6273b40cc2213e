"""Parquet: the types are in the file, so a text column of numbers is an error of the file, not of a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.rows import LINE, Kind, Rows
from components.errors import DataError
from components.task_types.base import json_text


def parquet_columns(path: Path) -> list[str]:
    """The column names of a Parquet file.

    Raises:
        DataError: it is not a Parquet file, or damaged.
    """
    return list(_open(path).schema_arrow.names)


def read_parquet(path: Path, columns: Mapping[str, Kind]) -> Rows:
    """The wanted columns of a Parquet file, each with how its values are read; LINE is the row, counted from 1.

    Raises:
        DataError: the file is damaged, or a column holds what cannot be read as that.
    """
    file = _open(path)
    try:
        table = file.read(columns=list(columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    words = [_words(path, name, table.column(name), kind) for name, kind in columns.items()]
    lines = pa.array(np.arange(1, len(table) + 1))
    return Rows(pa.table([lines, *words], names=[LINE, *columns]))


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _words(path: Path, name: str, column: Any, wanted: Kind) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    if is_text or pa.types.is_null(kind):
        return column.cast(pa.large_string())
    if wanted == "json":
        return _json(path, name, column)
    is_word = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
    if wanted == "text" or not is_word:
        raise DataError(f"Column '{name}' of {path.name} holds {kind}, not text.", "write that column as strings.")
    return column.cast(pa.large_string())


def _json(path: Path, name: str, column: Any) -> Any:
    try:
        words = [None if value is None else json_text(value) for value in column.to_pylist()]
    except TypeError as error:  # a date, bytes or the like, for which JSON has no word
        raise DataError(
            f"Column '{name}' of {path.name} holds {column.type}, which is no JSON.", "write that column as JSON text."
        ) from error
    return pa.array(words, pa.large_string())


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path.name} is not a whole Parquet file: {reason}", "write or copy the file again.")
