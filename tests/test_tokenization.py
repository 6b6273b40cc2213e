from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from components.base_models import resolve_base_model
from components.config import Columns
from components.errors import BaseModelError
from components.token_table import ShuffledBatches, TokenTable, sorted_batches
from components.tokenization import ARROW_FILE, load_tokenizer, tokenize_dataset
from tests.training_data import LABELS, rows_of, small_config, small_dataset, write_dataset


def tokenized(folder: Path, base: Path, max_length: int = 24):
    dataset = small_dataset(folder / "data")
    model = resolve_base_model(str(base), folder)
    return tokenize_dataset(small_config(base, max_length), dataset, model, folder / "tokens"), model


def test_the_ids_are_those_of_the_tokenizers_own_call(tiny_base: Path, tmp_path: Path):
    tokens, base = tokenized(tmp_path, tiny_base)
    tokenizer = load_tokenizer(base)
    expected = tokenizer([row["text"] for row in rows_of(96, 1)], truncation=True, max_length=24)
    features = TokenTable.of_split(tokens, "train", tokenizer).features()
    assert [row["input_ids"] for row in features] == expected["input_ids"]
    assert [row["attention_mask"] for row in features] == expected["attention_mask"]


@pytest.mark.parametrize("max_length", [8, 12, 24])
def test_rows_that_were_cut_are_counted_exactly(tiny_base: Path, tmp_path: Path, max_length: int):
    tokens, base = tokenized(tmp_path, tiny_base, max_length)
    whole = load_tokenizer(base)([row["text"] for row in rows_of(96, 1)])["input_ids"]
    assert tokens.truncated_rows["train"] == sum(len(ids) > max_length for ids in whole)
    assert tokens.tokens["train"] == sum(min(len(ids), max_length) for ids in whole)
    assert tokens.rows == {"train": 96, "validation": 30}


def test_pairs_are_two_segments(tiny_base: Path, tmp_path: Path):
    rows = [{**row, "text_pair": "my card"} for row in rows_of(9, 1)]
    dataset = write_dataset(tmp_path / "data", {"train": rows, "validation": rows}, LABELS)
    config = small_config(tiny_base)
    pairs = config.data.model_copy(update={"columns": Columns(text_pair="text_pair")})
    base = resolve_base_model(str(tiny_base), tmp_path)
    tokens = tokenize_dataset(config.model_copy(update={"data": pairs}), dataset, base, tmp_path / "tokens")
    row = TokenTable.of_split(tokens, "train", load_tokenizer(base)).features()[0]
    assert row["token_type_ids"][0] == 0
    assert row["token_type_ids"][-3:] == [1, 1, 1]


def test_datasets_maps_the_file_as_it_is(tiny_base: Path, tmp_path: Path):
    from datasets import Dataset

    tokens, _ = tokenized(tmp_path, tiny_base)
    mapped = Dataset.from_file(str(tokens.folder / "train" / ARROW_FILE))
    assert mapped.num_rows == 96
    assert mapped[0]["length"] == len(mapped[0]["input_ids"])
    assert {"labels", "attention_mask", "token_type_ids"} <= set(mapped.column_names)


def test_the_digest_changes_with_the_tokens_only(tiny_base: Path, tmp_path: Path):
    first, _ = tokenized(tmp_path / "a", tiny_base)
    again, _ = tokenized(tmp_path / "b", tiny_base)
    shorter, _ = tokenized(tmp_path / "c", tiny_base, 12)
    assert first.digest == again.digest != shorter.digest


def test_a_tokenizer_of_another_model_is_refused(tiny_base: Path, tmp_path: Path):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    with pytest.raises(BaseModelError, match="only 50 embeddings"):
        tokenized(tmp_path, base)


def test_a_batch_is_padded_to_its_longest_row(tiny_base: Path, tmp_path: Path):
    tokens, base = tokenized(tmp_path, tiny_base)
    table = TokenTable.of_split(tokens, "train", load_tokenizer(base))
    batch = table.batch([3, 5])
    assert batch["input_ids"].shape == (2, table.lengths[[3, 5]].max())
    assert batch["attention_mask"].sum(1).tolist() == table.lengths[[3, 5]].tolist()
    assert batch["labels"].tolist() == table.targets[[3, 5]].tolist()


def test_rows_of_one_length_need_no_attention_mask(tiny_base: Path, tmp_path: Path):
    tokens, base = tokenized(tmp_path, tiny_base)
    table = TokenTable.of_split(tokens, "train", load_tokenizer(base))
    length = np.bincount(table.lengths).argmax()
    batch = table.batch(np.flatnonzero(table.lengths == length)[:4].tolist())
    assert set(batch) == {"input_ids", "token_type_ids", "labels"}


def test_every_epoch_takes_each_row_once_in_another_order():
    lengths = np.random.default_rng(0).integers(3, 60, 1003).astype(np.int32)
    batches = ShuffledBatches(lengths, 32, seed=1)
    first, again = list(batches), list(batches)
    batches.set_epoch(1)
    second = list(batches)
    assert len(first) == len(batches) == 32
    assert sorted(chain.from_iterable(first)) == sorted(chain.from_iterable(second)) == list(range(1003))
    assert first == again != second


def test_batches_of_similar_length_leave_next_to_no_padding():
    lengths = np.random.default_rng(0).integers(3, 60, 5000).astype(np.int32)
    padded = sum(len(rows) * lengths[rows].max() for rows in ShuffledBatches(lengths, 32, seed=1))
    assert padded / lengths.sum() < 1.05


def test_evaluation_batches_take_each_row_once_within_the_token_budget():
    lengths = np.array([3, 50, 7, 7, 20, 1], np.int32)
    batches = list(sorted_batches(lengths, 40))
    assert sorted(chain.from_iterable(batches)) == list(range(6))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 40 for rows in batches)
