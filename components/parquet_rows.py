"""Parquet: the types are in the file, so a text column of numbers is an error of the file, not of a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.errors import DataError
from components.rows import Rows


def parquet_columns(path: Path) -> list[str]:
    """The column names of a Parquet file.

    Raises:
        DataError: it is not a Parquet file, or damaged.
    """
    return list(_open(path).schema_arrow.names)


def read_parquet(path: Path, columns: Sequence[str], texts: frozenset[str]) -> Rows:
    """The wanted columns of a Parquet file; `line` is the row, counted from 1.

    Raises:
        DataError: the file is damaged, or a column holds what cannot be read as words.
    """
    file = _open(path)
    try:
        table = file.read(columns=list(columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    words = [_words(path, name, table.column(name), texts) for name in columns]
    lines = pa.array(np.arange(1, len(table) + 1))
    return Rows(pa.table([lines, *words], names=["line", *columns]))


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _words(path: Path, name: str, column: Any, texts: frozenset[str]) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    word = is_text or pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not is_text and (name in texts or not (word or pa.types.is_floating(kind))):
        raise DataError(f"Column '{name}' of {path.name} holds {kind}, not text.", "write that column as strings.")
    return column.cast(pa.large_string())


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path.name} is not a whole Parquet file: {reason}", "write or copy the file again.")
