"""Tokenization: the train and validation rows as token ids in Arrow files that training maps into memory.

In: `<split>.parquet` of a validated data set. Out: `<split>/data.arrow` with one line a window: a list column for each
feature, `labels`, the position of its `row`, and `length`. `datasets.Dataset.from_file` opens it. It is written with
pyarrow and not by `Dataset.map`, whose cache is keyed by a fingerprint of the function and has served stale tokens; the
caller keys the folder by content.
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

from components.config import RunConfig
from components.digests import digest_file, digest_of
from components.errors import BaseModelError
from components.models.base_models import CONFIG
from components.records import BaseModel, Split, TokenizedDataset, ValidatedDataset
from components.task_types import Row, Spec, TaskType, Windows, find_task_type

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_FILE = "data.arrow"  # the stream format, which datasets.Dataset.from_file maps as well
# Narrow numbers for what is 0 or 1; ids and places in a text need more.
WIDTHS = {"attention_mask": np.int8, "token_type_ids": np.int8}
CHUNK_ROWS = 5_000  # rows that one call of the tokenizer gets: bounds memory, keeps all cores at work

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    windows: int = 0
    tokens: int = 0
    long_rows: int = 0
    cut: int = 0
    unreachable: int = 0
    highest_id: int = 0


def tokenize_dataset(config: RunConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path) -> TokenizedDataset:
    """Token ids of the train and validation rows, `folder/<split>/data.arrow`.

    Raises:
        BaseModelError: the tokenizer cannot be loaded, or gives ids that the model has no embedding for.
    """
    task_type, spec = find_task_type(config.task_type), spec_of(config, base, dataset)
    tokenizer = load_tokenizer(base)
    splits: tuple[Split, ...] = ("train", "validation") if task_type.trains else ("validation",)
    counts = {
        split: _tokenize_split(dataset, tokenizer, task_type, spec, split, folder / split / ARROW_FILE)
        for split in splits
    }
    _check_vocabulary(base, max(count.highest_id for count in counts.values()))
    return TokenizedDataset(
        folder=folder,
        digest=digest_of({split: digest_file(folder / split / ARROW_FILE) for split in splits}),
        rows={split: count.rows for split, count in counts.items()},
        tokens={split: count.tokens for split, count in counts.items()},
        windows={split: count.windows for split, count in counts.items()},
        long_rows={split: count.long_rows for split, count in counts.items()},
        cut_rows={split: count.cut for split, count in counts.items()},
        max_length=config.model.max_length,
        unreachable_rows={split: count.unreachable for split, count in counts.items()},
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


def spec_of(config: RunConfig, base: BaseModel, dataset: ValidatedDataset | None = None) -> Spec:
    """What the run file, the base model and the training rows say about how a model reads and answers.

    Args:
        dataset: None before there is one: nothing is known of labels and rows then.
    """
    task_type = find_task_type(config.task_type)
    settings = task_type.settle(task_type.settings.model_validate(config.task).model_dump(mode="json"), base.folder)
    if dataset is not None and task_type.trains:
        settings = task_type.learn(settings, chain.from_iterable(_read_rows(dataset.split_file("train"), task_type)))
    return Spec(tuple(dataset.labels if dataset else ()), config.model.max_length, config.model.overlap, settings)


def read_split(dataset: ValidatedDataset, split: Split, task_type: TaskType) -> list[Row]:
    """All rows of a split, with the project's column names."""
    return list(chain(*_read_rows(dataset.split_file(split), task_type)))


def _tokenize_split(
    dataset: ValidatedDataset, tokenizer: Any, task_type: TaskType, spec: Spec, split: Split, path: Path
) -> _Counts:
    import pyarrow as pa

    counts = _Counts()
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None

    def encode(rows: list[Row]) -> tuple[list[Row], Windows]:
        return rows, task_type.encode(tokenizer, rows, spec)

    for rows, windows in one_ahead(encode, _read_rows(dataset.split_file(split), task_type)):
        table = _as_table(windows, task_type.targets(rows, windows, spec), counts.rows, task_type)
        writer = writer or pa.ipc.new_stream(path, table.schema)
        writer.write_table(table)
        _count(counts, len(rows), windows, table)
        counts.unreachable += len(task_type.out_of_reach(rows, windows, spec))
    if writer is not None:
        writer.close()
    return counts


def _read_rows(path: Path, task_type: TaskType) -> Iterator[list[Row]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = [name for name in (*task_type.texts, "label") if name in file.schema_arrow.names]
        for batch in file.iter_batches(CHUNK_ROWS, columns=columns):
            yield batch.to_pylist()


def one_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
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


def _as_table(windows: Windows, targets: Sequence[Sequence[float]], first_row: int, task_type: TaskType) -> pa.Table:
    import pyarrow as pa

    features = windows.features
    columns = {name: _list_column([row[name] for row in features], WIDTHS.get(name, np.int32)) for name in features[0]}
    rows = np.asarray(windows.rows, np.int64) + first_row
    lengths = np.fromiter((len(row["input_ids"]) for row in features), np.int32, len(features))
    labels = _list_column(targets, np.dtype(task_type.targets_type))
    return pa.table({**columns, "labels": labels, "row": pa.array(rows), "length": pa.array(lengths)})


def _list_column(values: Sequence[Sequence[float]], number: Any) -> pa.ListArray:
    import pyarrow as pa

    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.fromiter(chain.from_iterable(values), number, offsets[-1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _count(counts: _Counts, rows: int, windows: Windows, table: pa.Table) -> None:
    ids = table["input_ids"].combine_chunks()
    counts.rows += rows
    counts.windows += len(windows.rows)
    counts.long_rows += windows.long_rows()
    counts.cut += windows.cut
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
