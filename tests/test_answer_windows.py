from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.training.tokenization import load_tokenizer
from tests.questions import CONTEXTS, QUESTIONS, TYPE, spec


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path):
    from components.models.base_models import resolve_base_model

    return load_tokenizer(resolve_base_model(str(tiny_base), tiny_base.parent))


def label(*answers: tuple[str, int]) -> str:
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    return json.dumps({"answer_start": starts, "text": texts}, ensure_ascii=False)


@settings(max_examples=100, deadline=None)
@given(CONTEXTS, st.sampled_from(QUESTIONS), st.integers(8, 64), st.data())
def test_windows_hold_every_token_once_with_maximum_context_and_their_own_characters(
    tokenizer, context: str, question: str, max_length: int, data
):
    own = spec(max_length=max_length, window_overlap=data.draw(st.integers(0, max_length // 2)))
    windows = TYPE.encode(tokenizer, [{"question": question, "context": context}], own)
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    places = set()
    for window in windows.features:
        assert len({len(values) for values in window.values()}) == 1
        assert len(window["input_ids"]) <= max_length
        for token, place in enumerate(window["place"]):
            if place < 0:
                continue
            assert window["input_ids"][token] == whole["input_ids"][place]
            first, last = whole["offset_mapping"][place]
            assert context[window["start"][token] : window["end"][token]] == context[first:last].strip()
            places.add(place)
    assert places == set(range(len(whole["input_ids"])))


@settings(max_examples=100, deadline=None)
@given(CONTEXTS, st.data())
def test_a_target_marks_the_answer_in_each_window_that_holds_it(tokenizer, context: str, data):
    if not context.strip():
        return
    first = data.draw(st.integers(0, len(context) - 1))
    text = context[first : data.draw(st.integers(first + 1, min(len(context), first + 12)))]
    rows = [
        {"question": "谁", "context": context, "label": label((text, first)) if text.strip() else label()},
        {"question": "谁", "context": "card", "label": label(("card", 0))},
    ]
    windows = TYPE.encode(tokenizer, rows, spec())
    *targets, other = TYPE.targets(rows, windows, spec())
    assert other == (3, 3)
    features = windows.features[:-1]
    read = {place for window in features for pair in _spans(window) for place in range(*pair)}
    wanted = read & set(range(first, first + len(text))) if text.strip() else set()
    for window, (start, end) in zip(features, targets, strict=True):
        here = {place for pair in _spans(window) for place in range(*pair)}
        assert ((start, end) != (0, 0)) == bool(wanted and wanted <= here)
        if wanted <= here and wanted:
            assert window["start"][start] <= min(wanted) < window["end"][start]
            assert window["start"][end] <= max(wanted) < window["end"][end]


def _spans(window) -> list[tuple[int, int]]:
    return [pair for pair in zip(window["start"], window["end"], strict=True) if pair != (-1, -1)]


def test_an_answer_is_found_by_every_window_that_holds_it_whole(tokenizer):
    context = "card " * 20 + "money bank " + "card " * 20
    row = {"question": "where?", "context": context, "label": label(("money bank", 100))}
    windows = TYPE.encode(tokenizer, [row], spec(max_length=24, window_overlap=10))
    targets = TYPE.targets([row], windows, spec())
    found = [target for target in targets if target != (0, 0)]
    assert 1 <= len(found) < len(targets)
    for window, (start, end) in zip(windows.features, targets, strict=True):
        holds = {20, 21} <= set(window["place"])
        assert ((start, end) != (0, 0)) == holds
        assert not holds or (window["place"][start], window["place"][end]) == (20, 21)


def test_a_long_question_is_cut_and_counted(tokenizer):
    rows = [{"question": "card " * 200, "context": "money"}, {"question": "card", "context": "money"}]
    windows = TYPE.encode(tokenizer, rows, spec(max_query_length=5))
    assert windows.cut == 1
    assert sum(place < 0 for place in windows.features[0]["place"]) == 5 + 3
