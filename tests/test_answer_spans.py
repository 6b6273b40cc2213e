from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.answers.answer_choice import best_threshold, probabilities
from components.answers.answer_spans import Spans, best_spans, can_be_found, maximum_context

QUESTION = 2  # tokens before the context in the windows that are made here: [CLS] and one more


def windows_of(tokens: int, size: int, overlap: int) -> list[dict[str, list[int]]]:
    """Windows over a context of so many one-character tokens."""
    found = []
    for first in range(0, tokens, size - overlap):
        own = list(range(first, min(first + size, tokens)))
        outside = [-1] * QUESTION
        found.append(
            {
                "place": [*outside, *own, -1],
                "start": [*outside, *own, -1],
                "end": [*outside, *(place + 1 for place in own), -1],
            }
        )
        if own[-1] == tokens - 1:
            break
    return found


def official_window_of(place: int, windows: list[dict[str, list[int]]]) -> int:
    """The window in which Google's script lets a token count, by its own formula."""
    best, chosen = None, -1
    for number, window in enumerate(windows):
        own = [other for other in window["place"] if other >= 0]
        if place not in own:
            continue
        score = min(place - own[0], own[-1] - place) + 0.01 * len(own)
        if best is None or score > best:
            best, chosen = score, number
    return chosen


def brute_force(context: str, windows, logits, longest: int) -> dict[str, float]:
    """The score of every text that may be an answer."""
    found: dict[str, float] = {}
    for number, (window, values) in enumerate(zip(windows, logits, strict=True)):
        for first, start in enumerate(window["place"]):
            if start < 0 or official_window_of(start, windows) != number:
                continue
            for last in range(first, min(first + longest, len(window["place"]))):
                if window["place"][last] < 0:
                    break
                text = context[start : window["end"][last]]
                score = float(values[first, 0]) + float(values[last, 1])
                found[text] = max(found.get(text, -np.inf), score)
    return found


@st.composite
def cases(draw):
    tokens, size = draw(st.integers(1, 25)), draw(st.integers(2, 9))
    windows = windows_of(tokens, size, draw(st.integers(0, size - 1)))
    context = draw(st.text(st.sampled_from("abc"), min_size=tokens, max_size=tokens))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Quarters, so that sums are exact and ties occur.
    logits = [np.round(numbers.normal(0, 3, (len(w["place"]), 2)) * 4).astype(np.float32) / 4 for w in windows]
    return context, windows, logits


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(1, 8), st.integers(1, 30))
def test_decoding_finds_what_brute_force_finds(case, longest: int, n_best: int):
    context, windows, logits = case
    spans = best_spans(context, windows, logits, n_best=n_best, max_answer_length=longest)
    expected = brute_force(context, windows, logits, longest)
    assert list(spans.scores) == sorted(expected.values(), reverse=True)[:n_best]
    texts = [context[first:last] for first, last in zip(spans.starts, spans.ends, strict=True)]
    assert len(set(texts)) == len(texts)
    assert [expected[text] for text in texts] == list(spans.scores)
    assert spans.null == min(float(values[0, 0]) + float(values[0, 1]) for values in logits)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(2, 60), st.data())
def test_each_token_has_maximum_context_in_the_window_that_the_official_rule_names(tokens: int, size: int, data):
    windows = windows_of(tokens, size, data.draw(st.integers(0, size // 2)))
    place = np.concatenate([np.array(window["place"]) for window in windows])
    number = np.repeat(np.arange(len(windows)), [len(window["place"]) for window in windows])
    chosen = maximum_context(place, number)
    assert sorted(place[chosen].tolist()) == list(range(tokens))
    for token in np.flatnonzero(chosen).tolist()[:50]:
        assert number[token] == official_window_of(int(place[token]), windows)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 25), st.integers(2, 9), st.integers(1, 8), st.data())
def test_an_answer_is_within_reach_where_decoding_can_give_it(tokens: int, size: int, longest: int, data):
    windows = windows_of(tokens, size, data.draw(st.integers(0, size - 1)))
    context = "".join(chr(0x4E00 + place) for place in range(tokens))  # no text twice
    logits = [np.zeros((len(window["place"]), 2), np.float32) for window in windows]
    spans = best_spans(context, windows, logits, n_best=10_000, max_answer_length=longest)
    possible = set(zip(spans.starts, spans.ends, strict=True))
    for first in range(tokens):
        for last in range(first + 1, tokens + 1):
            assert can_be_found(windows, first, last, longest) == ((first, last) in possible)


def test_a_context_without_tokens_has_no_spans():
    window = {"place": [-1, -1, -1], "start": [-1, -1, -1], "end": [-1, -1, -1]}
    spans = best_spans("  ", [window], [np.zeros((3, 2), np.float32)], n_best=5, max_answer_length=3)
    assert spans.scores == ()
    assert spans.null_lead == np.inf


def test_equal_scores_are_listed_in_the_order_of_the_text():
    windows = windows_of(5, 9, 0)
    logits = [np.zeros((len(windows[0]["place"]), 2), np.float32)]
    spans = best_spans("abcde", windows, logits, n_best=3, max_answer_length=2)
    assert list(zip(spans.starts, spans.ends, strict=True)) == [(0, 1), (0, 2), (1, 2)]


def test_many_spans_with_the_same_text_do_not_hide_the_others():
    windows = windows_of(401, 420, 0)
    context = "a" * 400 + "b"
    values = np.zeros((len(windows[0]["place"]), 2), np.float32)
    values[QUESTION + 400] = -5
    spans = best_spans(context, windows, [values], n_best=3, max_answer_length=1)
    assert [context[first:last] for first, last in zip(spans.starts, spans.ends, strict=True)] == ["a", "b"]


def official_best_f1(leads, scores, answerable) -> float:
    """The best sum that the official script finds by going through the sorted rows."""
    current = best = float(np.sum(~answerable))
    for place in np.argsort(leads, kind="stable"):
        current += scores[place] if answerable[place] else -1
        best = max(best, current)
    return best


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-900, 900), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_the_threshold_reaches_the_best_f1_that_the_official_script_finds(rows):
    leads = np.array([row[0] / 100 for row in rows])
    answerable = np.array([row[2] for row in rows])
    scores = np.where(answerable, [row[1] for row in rows], 0.0)
    threshold = best_threshold(leads, scores, answerable)
    reached = np.where(leads > threshold, ~answerable, scores).sum()
    ties = len(set(leads.tolist())) < len(leads)  # which the script cuts between, and no threshold can
    candidates = [-np.inf, *leads]
    assert reached == pytest.approx(max(np.where(leads > cut, ~answerable, scores).sum() for cut in candidates))
    assert ties or reached == pytest.approx(official_best_f1(leads, scores, answerable))
    known = np.unique(leads)
    halfway = [known[0] - 1, *((low + high) / 2 for low, high in pairwise(known)), known[-1] + 1]
    assert np.isclose(threshold, halfway).any()


def test_rows_without_any_span_do_not_move_the_threshold():
    leads = [-2.0, 2.0, np.inf]
    answerable = np.array([True, False, False])
    assert best_threshold(leads, np.array([1.0, 0.0, 0.0]), answerable) == 0.0
    assert best_threshold([np.inf], np.array([0.0]), np.array([True])) == 0.0


def test_probabilities_are_of_all_spans_and_of_no_answer():
    rows = [Spans((0, 1), (1, 2), (2.0, 1.0), 0.0), Spans((), (), (), 3.0)]
    table = probabilities(rows, 2.0, None)
    assert table.sum(axis=1) == pytest.approx(1)
    assert table[0] == pytest.approx(np.exp([0, 1, 0.5]) / np.exp([0, 1, 0.5]).sum())
    assert table[1].tolist() == [1, 0, 0]


def test_the_threshold_makes_the_likelier_of_answer_and_no_answer_what_is_said():
    row = Spans((0,), (1,), (2.0,), 1.0)
    for threshold in (-1.5, -1.01, -0.99, 0.0, 3.0):
        none, best = probabilities([row], 0.7, threshold)[0]
        assert (none > best) == (row.null_lead > threshold)
