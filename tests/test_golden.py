"""The comparison of answers that stands before every promotion."""

from __future__ import annotations

import pytest

from components.errors import BundleError
from components.golden import check_answers
from components.model_directory import GoldenRow
from components.task_types import Answer

LABELS = ("no", "yes")
GOLDEN = [GoldenRow(row={"text": "a"}, scores=(0.3, 0.7)), GoldenRow(row={"text": "b"}, scores=(0.9, 0.1))]


def answers(*scores: tuple[float, float]) -> list[Answer]:
    return [Answer(LABELS[pair.index(max(pair))], max(pair), pair) for pair in scores]


def test_equal_answers_pass_with_their_largest_difference():
    assert check_answers(GOLDEN, answers((0.30004, 0.69996), (0.9, 0.1)), LABELS) == pytest.approx(4e-5)


def test_a_difference_names_the_row_and_the_numbers():
    with pytest.raises(BundleError, match=r"Golden row 1: the trainer said no with 0\.900000 for no, .* 0\.880000"):
        check_answers(GOLDEN, answers((0.3, 0.7), (0.88, 0.12)), LABELS)


def test_a_score_that_is_not_a_number_fails():
    wrong = [Answer("yes", 0.7, (float("nan"), 0.7)), Answer("no", 0.9, (0.9, 0.1))]
    with pytest.raises(BundleError, match="Golden row 0"):
        check_answers(GOLDEN, wrong, LABELS)


def test_another_label_fails_even_with_the_same_scores():
    with pytest.raises(BundleError, match="Golden row 0: the trainer said yes"):
        check_answers(GOLDEN[:1], [Answer("no", 0.3, (0.3, 0.7))], LABELS)


def test_two_labels_within_the_tolerance_may_change_places():
    tied = [GoldenRow(row={"text": "a"}, scores=(0.50002, 0.49998))]
    assert check_answers(tied, [Answer("yes", 0.50001, (0.49999, 0.50001))], LABELS) < 1e-4


def test_no_golden_rows_prove_nothing():
    with pytest.raises(BundleError, match="no golden rows"):
        check_answers([], [], LABELS)
