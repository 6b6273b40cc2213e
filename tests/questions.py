"""Contexts of every script, questions, and the settings that the tests of question answering share."""

from __future__ import annotations

from hypothesis import strategies as st

from components.task_types import Spec, find_task_type

TYPE = find_task_type("question_answering")
PIECES = (
    "card ",
    "money",
    "酒店很好",
    "😀",
    "👩‍👩‍👧",
    "ＡＢＣ１２",
    " ",
    "\u3000",
    "é",
    "e\u0301",
    "\u200b",
    "zzz",
    "\n",
    ".",
    "，",
    "𠮷",
)
CONTEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
QUESTIONS = ("where is my card?", "谁", "how much money did they take from the bank today and why " * 3)


def spec(max_length: int = 32, window_overlap: int = 8, fitted=None, **task) -> Spec:
    return Spec((), max_length, window_overlap, TYPE.settings.model_validate(task).model_dump(), fitted or {})
