"""How the columns that a task type reads are found in somebody's file: by their names, else by what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Of a column's values. answers: objects with text and answer_start; spans: lists of objects with start and end; texts:
# lists of texts; cells: several words with a sign between them, such as joy|love; number: numbers with a fraction, or
# many whole ones written as if they had one; text: all else.
Look = Literal["answers", "spans", "texts", "cells", "number", "text"]

# What people call such columns, the most telling first.
# fmt: off
TEXT_NAMES = (
    "text", "sentence", "review", "content", "comment", "utterance", "query", "question", "message", "body",
    "tweet", "document", "title", "text_a", "sentence1", "premise", "文本", "内容", "评论", "正文", "标题",
)
PAIR_NAMES = (
    "text_pair", "text_b", "sentence2", "text2", "question2", "hypothesis", "answer", "passage",
)
LABEL_NAMES = (
    "label", "sentiment", "category", "class", "intent", "target", "topic", "tag", "polarity", "stars", "y",
    "标签", "类别", "分类", "情感",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Sought:
    """A column that a task type reads, and how it is found: by its name, else by `content`.

    `look` is what it must look like, None anything; the first column with one of the `names` decides. `content` takes
    the column with the longest texts, the only one that looks so, the one whose few values recur, or the only one of
    the file.
    """

    role: str
    names: tuple[str, ...]
    look: Look | None = "text"
    content: Literal["longest", "only one", "label", "alone", ""] = ""
    optional: bool = False


TEXT = Sought("text", TEXT_NAMES, content="longest")
PAIR = Sought("text_pair", PAIR_NAMES, optional=True)
