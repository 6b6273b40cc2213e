"""What is asked about a text in zero-shot classification: its labels, each as a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.errors import DataError
from components.task_types.base import Row, Spec

GAP = "{}"  # in a template, where the label stands
TEMPLATES = {"latin": "This text is about {}.", "chinese": "这段文字是关于{}的。"}
IDEOGRAPHS = ("\u3400", "\u9fff")  # the first and the last of Unicode's common Han characters


@dataclass(frozen=True, slots=True)
class Question:
    """The labels of one row and their prompts; with `multi_label` each is judged by itself."""

    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    multi_label: bool


def question_of(row: Row, spec: Spec) -> Question:
    """The question about a row: by its options `labels`, `template` and `multi_label`, else by the model's settings.

    A label that is named twice counts once.

    Raises:
        DataError: there is no label, a blank one, or the template has no place for it.
    """
    labels = tuple(dict.fromkeys(row.get("labels", spec.labels)))
    if not labels:
        raise DataError("There is no label to choose from.", "name at least one in 'labels'.")
    if not all(label.strip() for label in labels):
        raise DataError("A label is blank.", "give every label a word.")
    names = spec.settings.get("names") or {}
    words = [names.get(label, label.replace("_", " ")) for label in labels]
    template = row.get("template") or spec.settings.get("template") or default_template(words)
    return Question(labels, tuple(_prompts(template, words)), bool(row.get("multi_label", False)))


def default_template(words: Sequence[str]) -> str:
    """The template in the language of the labels: Chinese where any of them is written in Han characters."""
    low, high = IDEOGRAPHS
    chinese = any(low <= character <= high for word in words for character in word)
    return TEMPLATES["chinese" if chinese else "latin"]


def _prompts(template: str, words: Sequence[str]) -> list[str]:
    if template.count(GAP) != 1:
        raise DataError(
            f"The template {template[:60]!r} does not have exactly one {GAP}.",
            f"write {GAP} where the label stands, as in {TEMPLATES['latin']!r}.",
        )
    return [template.replace(GAP, word) for word in words]


def numbered_prompts(questions: Sequence[Question]) -> Mapping[str, int]:
    """The distinct prompts of several questions, numbered in the order in which they come."""
    found: dict[str, Any] = {}
    for question in questions:
        for prompt in question.prompts:
            found.setdefault(prompt, len(found))
    return found
