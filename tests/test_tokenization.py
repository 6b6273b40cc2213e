from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from components.errors import BaseModelError
from components.models.base_models import resolve_base_model
from components.sequences.text_windows import window_texts
from components.task_types import Spec, find_task_type
from components.training.token_table import ShuffledBatches, TokenTable, sorted_batches
from components.training.tokenization import ARROW_FILE, load_tokenizer, tokenize_dataset
from tests.training_data import LABELS, rows_of, small_config, small_dataset, write_dataset


def tokenized(folder: Path, base: Path, max_length: int = 24):
    dataset = small_dataset(folder / "data")
    model = resolve_base_model(str(base), folder)
    return tokenize_dataset(small_config(base, max_length), dataset, model, folder / "tokens"), model


def table_of(tokens, tokenizer) -> TokenTable:
    return TokenTable.of_split(tokens, "train", find_task_type("text_classification"), tokenizer)


def test_the_ids_are_those_of_the_tokenizers_own_call(tiny_base: Path, tmp_path: Path):
    tokens, base = tokenized(tmp_path, tiny_base)
    tokenizer = load_tokenizer(base)
    expected = tokenizer([row["text"] for row in rows_of(96, 1)], truncation=True, max_length=24)
    windows = table_of(tokens, tokenizer).windows()
    first = [windows.features[windows.rows.index(row)] for row in range(96)]
    assert [row["input_ids"] for row in first] == expected["input_ids"]
    assert [row["attention_mask"] for row in first] == expected["attention_mask"]


@pytest.mark.parametrize("max_length", [8, 12, 24])
def test_no_word_of_a_long_row_is_lost(tiny_base: Path, tmp_path: Path, max_length: int):
    tokens, base = tokenized(tmp_path, tiny_base, max_length)
    whole = load_tokenizer(base)([row["text"] for row in rows_of(96, 1)])["input_ids"]
    windows = table_of(tokens, load_tokenizer(base)).windows()
    assert tokens.long_rows["train"] == sum(len(ids) > max_length for ids in whole)
    assert tokens.windows["train"] == len(windows.rows)
    assert tokens.rows == {"train": 96, "validation": 30}
    assert tokens.cut_rows == {"train": 0, "validation": 0}
    for row, ids in enumerate(whole):
        own = [window["input_ids"] for window, of in zip(windows.features, windows.rows, strict=True) if of == row]
        assert all(len(window) <= max_length for window in own)
        assert joined(own, overlap=max_length // 4) == ids


def joined(windows: list[list[int]], overlap: int) -> list[int]:
    """The ids of a whole text from windows that share `overlap` of them."""
    inner = windows[0][1:-1] + [token for window in windows[1:] for token in window[1 + overlap : -1]]
    return [windows[0][0], *inner, windows[0][-1]]


def test_the_first_text_of_a_long_pair_stands_in_every_window(tiny_base: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    rows = [{"text": "my card", "text_pair": "where is it " * 20}, {"text": "is it " * 40, "text_pair": "my card " * 9}]
    windows = window_texts(tokenizer, rows, Spec((), 24, 6))
    assert windows.cut == 1  # the second row's first text is longer than half a window
    assert set(windows.rows) == {0, 1}
    whole = tokenizer(rows[0]["text_pair"], add_special_tokens=False)["input_ids"]
    first = tokenizer("my card", add_special_tokens=False)["input_ids"]
    found = [window for window, row in zip(windows.features, windows.rows, strict=True) if row == 0]
    seconds = []
    for window in found:
        ids, segments = window["input_ids"], window["token_type_ids"]
        assert ids[1 : 1 + len(first)] == first
        assert len(ids) <= 24
        seconds.append([0, *[token for token, segment in zip(ids, segments, strict=True) if segment == 1]])
    assert joined(seconds, overlap=min(6, (24 - 3) // 2 // 2))[1:-1] == whole


def test_pairs_are_two_segments(tiny_base: Path, tmp_path: Path):
    rows = [{**row, "text_pair": "my card"} for row in rows_of(9, 1)]
    dataset = write_dataset(tmp_path / "data", {"train": rows, "validation": rows}, LABELS)
    base = resolve_base_model(str(tiny_base), tmp_path)
    tokens = tokenize_dataset(small_config(tiny_base), dataset, base, tmp_path / "tokens")
    row = table_of(tokens, load_tokenizer(base)).windows().features[0]
    assert row["token_type_ids"][0] == 0
    assert row["token_type_ids"][-3:] == [1, 1, 1]


def test_datasets_maps_the_file_as_it_is(tiny_base: Path, tmp_path: Path):
    from datasets import Dataset

    tokens, _ = tokenized(tmp_path, tiny_base)
    mapped = Dataset.from_file(str(tokens.folder / "train" / ARROW_FILE))
    assert mapped.num_rows == tokens.windows["train"]
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
    table = table_of(tokens, load_tokenizer(base))
    batch = table.batch([3, 5])
    assert batch["input_ids"].shape == (2, table.lengths[[3, 5]].max())
    assert batch["attention_mask"].sum(1).tolist() == table.lengths[[3, 5]].tolist()
    assert batch["labels"].tolist() == table.targets[[3, 5]].tolist()  # one a window


def test_rows_of_one_length_need_no_attention_mask(tiny_base: Path, tmp_path: Path):
    tokens, base = tokenized(tmp_path, tiny_base)
    table = table_of(tokens, load_tokenizer(base))
    length = np.bincount(table.lengths).argmax()
    batch = table.batch(np.flatnonzero(table.lengths == length)[:4].tolist())
    assert set(batch) == {"input_ids", "token_type_ids", "labels"}


def test_every_epoch_takes_each_row_once_in_another_order():
    batches = ShuffledBatches(np.arange(1003), np.full(1003, 9), 32, seed=1)
    first, again = list(batches), list(batches)
    batches.set_epoch(1)
    second = list(batches)
    assert len(first) == len(batches) == 32
    assert sorted(chain.from_iterable(first)) == sorted(chain.from_iterable(second)) == list(range(1003))
    assert first == again != second


def test_an_epoch_takes_one_window_of_a_row_with_the_chance_of_its_tokens():
    rows = np.repeat(np.arange(500), 2)
    lengths = np.tile([90, 30], 500).astype(np.int32)
    batches = ShuffledBatches(rows, lengths, 32, seed=1)
    taken = []
    for epoch in range(10):
        batches.set_epoch(epoch)
        drawn = list(chain.from_iterable(batches))
        assert sorted(rows[drawn]) == list(range(500))
        taken += drawn
    assert 0.72 < np.mean(np.array(taken) % 2 == 0) < 0.78


def test_evaluation_batches_take_each_row_once_within_the_token_budget():
    lengths = np.array([3, 50, 7, 7, 20, 1], np.int32)
    batches = list(sorted_batches(lengths, 40))
    assert sorted(chain.from_iterable(batches)) == list(range(6))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 40 for rows in batches)


def test_a_class_of_long_texts_counts_by_its_rows(tiny_base: Path, tmp_path: Path):
    """Training draws one window of a row; so what it knows of the classes goes by rows, not by windows."""
    rows = [
        {**row, "text": " ".join([row["text"]] * 6) if row["label"] == "card" else row["text"]}
        for row in rows_of(96, 1)
    ]
    dataset = write_dataset(tmp_path / "data", {"train": rows, "validation": rows_of(30, 2)}, LABELS)
    base = resolve_base_model(str(tiny_base), tmp_path)
    tokens = tokenize_dataset(small_config(tiny_base, 24), dataset, base, tmp_path / "tokens")
    table, task_type = table_of(tokens, load_tokenizer(base)), find_task_type("text_classification")
    assert np.bincount(table.targets)[0] > 100
    assert table.drawn_targets.tolist() == [LABELS.index(row["label"]) for row in rows]
    weights = task_type.weights(table.drawn_targets, Spec(LABELS, 24, 6))
    assert weights == pytest.approx([1, 1, 1])
