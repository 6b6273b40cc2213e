"""Tokenization: the train and validation rows as token ids in Arrow files that training maps into memory.

In: `<split>.parquet` of a validated data set. Out: `<split>/data.arrow` with one list column for each feature of the
tokenizer, `labels` and `length`. Nothing is cached by a function's fingerprint: the caller keys the folder by content.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from components.base_models import CONFIG
from components.config import RunConfig
from components.digests import digest_file, digest_of
from components.errors import BaseModelError
from components.records import BaseModel, Split, TokenizedDataset, ValidatedDataset
from components.task_types import Features, Row, TaskType, find_task_type

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_FILE = "data.arrow"  # the stream format, which datasets.Dataset.from_file maps as well
CHUNK_ROWS = 5_000  # rows that one call of the tokenizer gets: bounds memory, keeps all cores at work

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    tokens: int = 0
    truncated: int = 0
    highest_id: int = 0


class _CountingTokenizer:
    """A fast tokenizer that also counts the rows it cut: the Rust side keeps what overflows."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.truncated = 0

    def __call__(self, *texts: Any, **options: Any) -> Any:
        encoded = self.tokenizer(*texts, **options)
        self.truncated += sum(bool(encoding.overflowing) for encoding in encoded.encodings)
        return encoded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def tokenize_dataset(config: RunConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path) -> TokenizedDataset:
    """Token ids of the train and validation rows, `folder/<split>/data.arrow`.

    Raises:
        BaseModelError: the tokenizer cannot be loaded, or gives ids that the model has no embedding for.
    """
    task_type = find_task_type(config.task_type)
    tokenizer = load_tokenizer(base)
    splits: tuple[Split, ...] = ("train", "validation")
    counts = {
        split: _tokenize_split(config, dataset, tokenizer, task_type, split, folder / split / ARROW_FILE)
        for split in splits
    }
    _check_vocabulary(base, max(count.highest_id for count in counts.values()))
    return TokenizedDataset(
        folder=folder,
        digest=digest_of({split: digest_file(folder / split / ARROW_FILE) for split in splits}),
        rows={split: count.rows for split, count in counts.items()},
        tokens={split: count.tokens for split, count in counts.items()},
        truncated_rows={split: count.truncated for split, count in counts.items()},
        max_length=config.model.max_length,
    )


def load_tokenizer(base: BaseModel) -> Any:
    """The fast tokenizer of a base model.

    Raises:
        BaseModelError: transformers cannot load it.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise BaseModelError(
            f"The tokenizer of '{base.spec}' cannot be loaded: {reason}", "fetch the model again, or name another."
        ) from error
    if not tokenizer.is_fast:
        raise BaseModelError(f"'{base.spec}' has only a slow tokenizer.", "name a model that has a tokenizer.json.")
    return tokenizer


def _tokenize_split(
    config: RunConfig, dataset: ValidatedDataset, tokenizer: Any, task_type: TaskType, split: Split, path: Path
) -> _Counts:
    import pyarrow as pa

    counter = _CountingTokenizer(tokenizer)
    counts = _Counts()
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(task_type.columns(config.data.columns))
    writer = None

    def encode(rows: list[Row]) -> tuple[list[Row], list[Features]]:
        return rows, task_type.encode(counter, rows, config.model.max_length)

    for rows, features in _one_ahead(encode, _read_rows(dataset.split_file(split), columns)):
        table = _as_table(features, task_type.targets(rows, dataset.labels))
        writer = writer or pa.ipc.new_stream(path, table.schema)
        writer.write_table(table)
        _count(counts, table)
    if writer is not None:
        writer.close()
    counts.truncated = counter.truncated
    return counts


def _read_rows(path: Path, columns: Sequence[str]) -> Iterator[list[Row]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK_ROWS, columns=list(columns)):
            yield batch.to_pylist()


def _one_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Each item's result, made in a thread while the caller is busy with the one before.

    The tokenizer leaves Python's lock free while it works, so that reading and writing cost next to nothing.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _as_table(features: Sequence[Features], targets: Sequence[int]) -> pa.Table:
    """One list column for each feature, of the narrowest type that all models' values fit, `labels` and `length`."""
    import pyarrow as pa

    columns = {name: _list_column(name, [row[name] for row in features]) for name in features[0]}
    lengths = np.fromiter((len(row["input_ids"]) for row in features), np.int32, len(features))
    return pa.table({**columns, "labels": pa.array(targets, pa.int64()), "length": pa.array(lengths)})


def _list_column(name: str, values: Sequence[Sequence[int]]) -> pa.ListArray:
    import pyarrow as pa

    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    number = np.int32 if name == "input_ids" else np.int8
    flat = np.fromiter(chain.from_iterable(values), number, offsets[-1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _count(counts: _Counts, table: pa.Table) -> None:
    ids = table["input_ids"].combine_chunks()
    counts.rows += table.num_rows
    counts.tokens += len(ids.values)
    counts.highest_id = max(counts.highest_id, int(ids.values.to_numpy().max(initial=0)))


def _check_vocabulary(base: BaseModel, highest_id: int) -> None:
    import json

    size = json.loads((base.folder / CONFIG).read_bytes()).get("vocab_size")
    if size is not None and highest_id >= size:
        raise BaseModelError(
            f"The tokenizer of '{base.spec}' gives the id {highest_id}, but the model has only {size} embeddings.",
            "use the tokenizer that belongs to the model's weights.",
        )
