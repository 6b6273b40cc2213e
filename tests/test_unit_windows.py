from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.entities.tags import as_label
from components.entities.text_units import split_units
from components.entities.unit_emissions import gather_emissions, window_targets
from components.entities.unit_windows import NO_UNIT, UNIT, window_units
from components.task_types import Spec

LABELS = ("LOC", "PER")


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base, local_files_only=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["hotel", "card", "酒店", "xyz", "unknowable", ".", "👍"]), max_size=60), st.data())
def test_every_unit_is_answered_for_once_and_in_order(tokenizer, words, data):
    max_length = data.draw(st.integers(8, 40))
    spec = Spec(LABELS, max_length, data.draw(st.integers(0, max_length // 2)))
    text = " ".join(words)
    windows = window_units(tokenizer, [{"text": "x"}, {"text": text}], spec)
    assert max(len(window["input_ids"]) for window in windows.features) <= max_length
    answered = [
        unit for window, row in zip(windows.features, windows.rows, strict=True) if row for unit in window[UNIT]
    ]
    assert [unit for unit in answered if unit != NO_UNIT] == list(range(len(split_units(text))))


def test_a_unit_is_answered_for_far_from_the_cuts(tokenizer):
    windows = window_units(tokenizer, [{"text": "hotel " * 60}], Spec(LABELS, 22, 10))  # 20 units a window, 10 shared
    counts = [sum(unit != NO_UNIT for unit in window[UNIT]) for window in windows.features]
    assert counts == [15, 10, 10, 10, 15]
    assert windows.cut == 0


def test_windows_share_no_more_than_they_may(tokenizer):
    for overlap in (0, 3, 10):
        windows = window_units(tokenizer, [{"text": "hotel " * 60}], Spec(LABELS, 22, overlap))
        shared = 20 * len(windows.features) - 60 - (20 - len(windows.features[-1]["input_ids"]) + 2)
        assert shared == overlap * (len(windows.features) - 1)


def test_a_unit_longer_than_a_window_is_cut_and_counted(tokenizer):
    windows = window_units(tokenizer, [{"text": "hotel " + "x" * 40 + " card"}], Spec(LABELS, 16, 4))
    answered = [unit for window in windows.features for unit in window[UNIT] if unit != NO_UNIT]
    assert answered == [0, 1, 2]
    assert windows.cut == 1


def test_a_text_without_units_has_a_window_without_targets(tokenizer):
    spec = Spec(LABELS, 16, 4)
    rows = [{"text": " \u200b", "label": "[]"}]
    windows = window_units(tokenizer, rows, spec)
    assert len(windows.features[0]["input_ids"]) == 2
    assert window_targets(rows, windows, spec) == [[-100, -100]]


def test_units_that_the_tokenizer_drops_stand_between_the_others(tokenizer):
    rows = [{"text": "card \ufffd hotel", "label": "[]"}]  # BERT's normaliser drops U+FFFD
    spec = Spec(LABELS, 16, 4)
    windows = window_units(tokenizer, rows, spec)
    outputs = [np.zeros((len(window["input_ids"]), 5), np.float32) for window in windows.features]
    assert gather_emissions(rows, windows, outputs, spec, 0)[0].offsets.tolist() == [[0, 4], [7, 12]]


def test_targets_of_a_long_text_say_what_the_windows_cut(tokenizer):
    rows = [{"text": "hotel " * 40, "label": as_label([(0, 5, "LOC"), (72, 113, "PER")])}]
    spec = Spec(LABELS, 22, 10)
    windows = window_units(tokenizer, rows, spec)
    targets = window_targets(rows, windows, spec)
    assert [target[0] for target in targets] == [-101, -103, -102]
    tags = [tag for target in targets for tag in target if tag >= 0]
    assert tags == [1] + [0] * 11 + [3] + [4] * 6 + [0] * 21
