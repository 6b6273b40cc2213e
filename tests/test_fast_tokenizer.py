"""The tokenizer of a built engine gives what transformers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.models.fast_tokenizer import FastTokenizer, save_tokenizer
from components.models.inference import load_tokenizer

TEXTS = st.lists(
    st.text(max_size=60) | st.sampled_from(["where is my card", "酒店很好 " * 9, "a [MASK] b"]), min_size=1
)
CALLS: list[dict[str, Any]] = [
    {},
    {"truncation": True, "max_length": 9, "stride": 2},
    {"truncation": True, "max_length": 9, "stride": 2, "return_overflowing_tokens": True},
    {"truncation": True, "max_length": 9, "stride": 2, "return_special_tokens_mask": True},
    {"add_special_tokens": False, "return_offsets_mapping": True},
]


@pytest.fixture(scope="module")
def both(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, FastTokenizer]:
    folder = tmp_path_factory.mktemp("tokenizer")
    theirs = load_tokenizer(tiny_base)
    theirs(["so that it is in some state"], truncation=True, max_length=5)
    return theirs, FastTokenizer(folder, save_tokenizer(theirs, folder))


def same(theirs: Any, ours: Any) -> None:
    assert dict(ours) == dict(theirs)
    for place, (one, other) in enumerate(zip(theirs.encodings, ours.encodings, strict=True)):
        assert one.ids == other.ids
        assert [each.ids for each in one.overflowing] == [each.ids for each in other.overflowing]
        assert theirs.sequence_ids(place) == ours.sequence_ids(place)


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_single_texts(both, call, texts):
    theirs, ours = both
    same(theirs(texts, **call), ours(texts, **call))


@pytest.mark.parametrize("strategy", ["longest_first", "only_second"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_pairs(both, strategy, texts):
    theirs, ours = both
    firsts = ["where is it"] * len(texts)
    call = {"truncation": strategy, "max_length": 12, "stride": 1, "return_overflowing_tokens": True}
    same(theirs(firsts, texts, **call), ours(firsts, texts, **call))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), min_size=1, max_size=4))
def test_words(both, words):
    theirs, ours = both
    call = {"is_split_into_words": True, "add_special_tokens": False, "truncation": False}
    same(theirs(words, **call), ours(words, **call))


def test_what_is_known_of_tokens(both):
    theirs, ours = both
    assert len(ours) == len(theirs)
    for name in ("mask_token", "mask_token_id", "unk_token_id", "pad_token_id", "pad_token_type_id"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.all_special_ids == theirs.all_special_ids
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair=pair) == theirs.num_special_tokens_to_add(pair=pair)
    for token in ("card", "##ing", "nothing like it"):
        assert ours.convert_tokens_to_ids(token) == theirs.convert_tokens_to_ids(token)
    for number in range(len(theirs)):
        assert ours.convert_ids_to_tokens(number) == theirs.convert_ids_to_tokens(number)
        assert ours.decode([number]).strip() == theirs.decode([number]).strip()
    assert ours("a card")["input_ids"] == theirs("a card")["input_ids"]
