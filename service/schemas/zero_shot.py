"""Requests and answers of zero_shot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from components.config import Serving
from service.schemas.base import READABLE, Key, LabelScore, OfForm, Speech, readable_text

MOST_LABELS = 100  # a model of entailment reads each text as often as there are labels
Label = Annotated[str, Field(min_length=1, max_length=200, pattern=READABLE)]
TEMPLATE = r"^[^{}\u0000]*\{\}[^{}\u0000]*$"
Template = Annotated[
    str,
    Field(max_length=500),
    OfForm(TEMPLATE, "must hold {} once, where the label stands, and no other brace"),
]


class ZeroShotAnswer(LabelScore):
    """What the model says about one text."""

    top: list[LabelScore] = Field(
        description="The likeliest labels, best first. Their scores sum to 1 over all labels; with multi_label each is "
        "by itself the probability that the label holds."
    )


def text(limits: Serving) -> Mapping[str, Key]:
    return {"text": (readable_text(limits), "One text.")}


SPEECH = Speech(
    inputs=text,
    prediction=ZeroShotAnswer,
    example={"text": "My card was swallowed by the machine.", "labels": ["card", "transfer"], "multi_label": False},
    truth=lambda _labels, _: {"label": (Label, "The true label.")},
    true_example=lambda labels: {"label": (*labels, "card")[0]},
    options={
        "labels": (
            Annotated[list[Label], Field(min_length=1, max_length=MOST_LABELS)],
            "The labels to choose from; left out, those of the evaluation. One that is named twice counts once.",
        ),
        "multi_label": (bool, "Whether several labels may hold; false if left out."),
        "template": (Template, "The sentence that a label becomes, with {} in its place."),
    },
)
