"""Explanations: the weights of the words add up to the difference that they made, and are Shapley's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.models.explanation import (
    EXACT_PARTS,
    MOST_PARTS,
    VERSIONS,
    Explanation,
    explain_scores,
    plan_explanation,
    rows_of,
)

Score = Callable[[dict], float]


def explain(row: dict, score: Score, inputs: tuple[str, ...] = ("text",), versions: int = VERSIONS) -> Explanation:
    plan = plan_explanation(row, inputs, versions)
    return explain_scores(plan, np.array([score(version) for version in rows_of(row, plan)]))


def words_in(row: dict) -> list[str]:
    return row["text"].split()


def test_words_that_act_alone_get_what_they_do():
    worth = {"a": 0.5, "b": -0.25, "c": 0.0}
    found = explain({"text": "a b c"}, lambda row: 0.1 + sum(worth[word] for word in words_in(row)))
    assert found.weights == pytest.approx([0.5, -0.25, 0.0])
    assert (found.exact, found.errors, found.versions) == (True, (0.0, 0.0, 0.0), 8)
    assert (found.baseline, found.score) == pytest.approx((0.1, 0.35))


def test_a_few_words_get_the_mean_over_all_orders():
    """Against the definition: each order of joining, one after the other."""
    score = lambda row: float(len(words_in(row)) ** 2 + 3 * ("b" in words_in(row)) * ("d" in words_in(row)))  # noqa: E731
    words = ["a", "b", "c", "d"]
    expected = dict.fromkeys(words, 0.0)
    for order in permutations(words):
        for place, word in enumerate(order):
            before, after = " ".join(order[:place]), " ".join(order[: place + 1])
            expected[word] += (score({"text": after}) - score({"text": before})) / 24
    assert explain({"text": "a b c d"}, score).weights == pytest.approx(list(expected.values()))


def test_many_words_get_nearly_that():
    """Two words that only work together share their effect; the others get nothing."""
    text = " ".join("abcdefghijklmnop")
    found = explain({"text": text}, lambda row: float({"c", "k"} <= set(words_in(row))), versions=2000)
    weights = dict(zip(text.split(), found.weights, strict=True))
    assert not found.exact
    assert weights["c"] == pytest.approx(0.5, abs=0.1)
    assert sum(abs(weights[word]) for word in weights if word not in "ck") == pytest.approx(0, abs=1e-9)
    errors = dict(zip(text.split(), found.errors, strict=True))
    assert errors["a"] == 0
    assert errors["c"] < 0.1


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=200), st.integers(0, 2**32))
def test_the_weights_add_up_to_the_difference(text: str, seed: int):
    noise = np.random.default_rng(seed)
    found = explain({"text": text}, lambda _: float(noise.uniform()))
    assert sum(found.weights) == pytest.approx(found.score - found.baseline, abs=1e-9)
    assert 1 <= len(found.parts) <= MOST_PARTS
    assert [part.start for part in found.parts] == sorted(part.start for part in found.parts)


def test_the_whole_row_is_asked_about_and_the_one_without_words():
    for text in ("a b", "a " * 12, "很好" * 300):
        row = {"text": text, "top": 3}
        versions = list(rows_of(row, plan_explanation(row, ["text"])))
        assert versions[-1] == row
        assert versions[0]["text"].strip() == ""
        assert versions[0]["top"] == 3


def test_both_texts_of_a_pair_are_explained():
    row = {"text": "a b", "text_pair": "c"}
    found = explain(row, lambda row: float("c" in row["text_pair"]), ("text", "text_pair"))
    assert [(part.input, part.start, part.end) for part in found.parts] == [
        ("text", 0, 1),
        ("text", 2, 3),
        ("text_pair", 0, 1),
    ]
    assert found.weights == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("words", [EXACT_PARTS, EXACT_PARTS + 1, MOST_PARTS, 500])
def test_not_more_versions_are_asked_about_than_wanted(words: int):
    assert len(plan_explanation({"text": "a " * words}, ["text"]).versions) <= VERSIONS
