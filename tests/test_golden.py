from __future__ import annotations

import math

import pytest

from components.errors import BundleError
from components.models.golden import check_answers, distance
from components.models.model_directory import GoldenRow


def answer(label: str, no: float, yes: float) -> dict:
    top = sorted(({"label": "no", "score": no}, {"label": "yes", "score": yes}), key=lambda item: -item["score"])
    return {"label": label, "score": max(no, yes), "top": top}


GOLDEN = [
    GoldenRow(row={"text": "a"}, answer=answer("yes", 0.3, 0.7)),
    GoldenRow(row={"text": "b"}, answer=answer("no", 0.9, 0.1)),
]


def test_equal_answers_pass_with_their_largest_difference():
    found = [answer("yes", 0.30004, 0.69996), answer("no", 0.9, 0.1)]
    assert check_answers(GOLDEN, found) == pytest.approx(4e-5)


def test_a_difference_names_the_row_and_both_answers():
    with pytest.raises(BundleError, match=r"Golden row 1: the trainer said .*'no'.*0\.9.* this model says .*0\.88"):
        check_answers(GOLDEN, [answer("yes", 0.3, 0.7), answer("no", 0.88, 0.12)])


def test_a_score_that_is_not_a_number_fails():
    with pytest.raises(BundleError, match="Golden row 0"):
        check_answers(GOLDEN[:1], [answer("yes", math.nan, 0.7)])


def test_another_label_fails_even_with_the_same_scores():
    with pytest.raises(BundleError, match="Golden row 0: the trainer said"):
        check_answers(GOLDEN[:1], [answer("no", 0.3, 0.7)])


def test_two_labels_within_the_tolerance_may_change_places_in_the_list():
    tied = [GoldenRow(row={"text": "a"}, answer={"top": answer("", 0.50002, 0.49998)["top"]})]
    assert check_answers(tied, [{"top": answer("", 0.49999, 0.50001)["top"]}]) < 1e-4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1.0}, {"b": 1.0}),
        ([1.0], [1.0, 1.0]),
        ({"start": 1}, {"start": 2}),
        ({"start": None}, {"start": 2}),
        ({"text": "x"}, {"text": "y"}),
        (0.5, None),
        ([{"label": "a", "score": 0.1}], [{"label": "b", "score": 0.1}]),
        ({"top": [{"label": "a", "score": 0.9}]}, {"top": []}),
    ],
)
def test_whatever_is_no_fraction_must_be_the_same(one, other):
    assert distance(one, other) == math.inf
    assert distance(one, one) == distance(other, other) == 0.0


def test_what_is_cut_off_behind_an_equal_score_may_differ():
    one = {"candidates": [{"text": "x", "start": 1, "score": 0.5}, {"text": "y", "start": 3, "score": 0.2}]}
    other = {"candidates": [{"text": "x", "start": 1, "score": 0.5}, {"text": "z", "start": 9, "score": 0.20003}]}
    assert distance(one, other) == pytest.approx(3e-5)
    assert distance({"top": [{"label": "a", "score": 0.9}]}, {"top": [{"label": "b", "score": 0.1}]}) > 0.5


def test_no_golden_rows_prove_nothing():
    with pytest.raises(BundleError, match="no golden rows"):
        check_answers([], [])
