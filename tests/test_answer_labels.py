from __future__ import annotations

import json

import pytest

from components.answers.answer_labels import BROKEN, MOVED, NOT_IN_CONTEXT
from components.task_types import Fault, find_task_type

TYPE = find_task_type("question_answering")


def label(*answers: tuple[str, int]) -> str:
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    return json.dumps({"answer_start": starts, "text": texts}, ensure_ascii=False)


def read(context: str | None, answers, impossible: str | None = None):
    values = {"question": "who?", "context": context, "is_impossible": impossible}
    return TYPE.read({**values, "answers": answers if isinstance(answers, str) else json.dumps(answers)}, {})


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["two", "cat"], "answer_start": [4, 8]},
        [{"text": "two", "answer_start": 4}, {"text": "cat", "answer_start": 8.0}],
        [{"text": ["two", "cat"], "answer_start": [4, 8]}],
    ],
)
def test_answers_are_read_in_every_form(answers):
    assert read("the two cats", answers)["label"] == label(("two", 4), ("cat", 8))


@pytest.mark.parametrize("answers", ["[]", '{"text": [], "answer_start": []}'])
def test_no_answers_make_an_unanswerable_row(answers):
    assert read("the cat", answers) == {"question": "who?", "context": "the cat", "label": label()}


def test_a_row_that_is_marked_impossible_has_no_answer_whatever_stands_there():
    assert read("the cat", [{"text": "cat", "answer_start": 4}], "true")["label"] == label()
    assert read("the cat", [{"text": "cat", "answer_start": 4}], "false")["label"] == label(("cat", 4))
    assert read("the cat", [], "false").check == BROKEN
    assert read("the cat", [], "maybe").check == BROKEN


def test_a_wrong_offset_is_repaired_where_only_one_place_can_be_meant():
    moved = read("😀 the cat", [{"text": "cat", "answer_start": 7}])  # UTF-16 units
    assert moved.row == {"question": "who?", "context": "😀 the cat", "label": label(("cat", 6))}
    assert (moved.check, moved.reason) == (MOVED, "'cat' is not at 7, but at 6")
    assert read("the cat", [{"text": "cat", "answer_start": -1}]).row["label"] == label(("cat", 4))
    assert read("a cat, a cat", [{"text": "cat", "answer_start": 9}])["label"] == label(("cat", 9))


@pytest.mark.parametrize("text", ["cat", "dog", "Cat ", "aa"])
def test_an_answer_that_is_not_in_the_context_is_a_fault_that_names_it(text: str):
    found = read("a cat, a cat, aaa", [{"text": text, "answer_start": 5}])
    assert isinstance(found, Fault)
    assert found.check == NOT_IN_CONTEXT
    assert repr(text) in found.reason


@pytest.mark.parametrize(
    "answers",
    [
        "cat",
        "4",
        "null",
        ["cat"],
        {"text": ["cat"]},
        {"text": ["cat", "the"], "answer_start": [4]},
        {"text": [""], "answer_start": [0]},
        {"text": [" \u3000"], "answer_start": [0]},
        {"text": [4], "answer_start": [4]},
        {"text": ["cat"], "answer_start": ["4"]},
        {"text": ["cat"], "answer_start": [True]},
        {"text": ["cat"], "answer_start": [4.5]},
        '{"text": ["cat"], "answer_start": [Infinity]}',
        '{"text": ["cat"], "answer_start": [NaN]}',
    ],
)
def test_broken_answers_are_faults(answers):
    found = read("the cat", answers)
    assert isinstance(found, Fault)
    assert found.check == BROKEN
    assert set(TYPE.faults) >= {found.check}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["cat"], "there is an answer that is no object with text and answer_start"),
        ({"text": ["cat", "the"], "answer_start": [4]}, "text holds 2 and answer_start 1"),
        ({"text": [["cat"]], "answer_start": [4]}, "the answer '[\"cat\"]' is no text"),
        ({"text": ["cat"], "answer_start": ["4"]}, "the offset '\"4\"' is no whole number"),
    ],
)
def test_broken_answers_are_explained(answers, reason):
    assert read("the cat", answers).reason == reason


def test_a_row_without_context_or_answers_is_left_to_the_checks_of_all_types():
    assert read(None, []) == {"question": "who?"}
    assert read("the cat", " ") == {"question": "who?", "context": "the cat"}
