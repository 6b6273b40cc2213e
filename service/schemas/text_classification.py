"""Requests and answers of text_classification."""

from __future__ import annotations

from pydantic import Field

from service.schemas.base import LabelScore, Speech, one_of, text_and_pair


class Classification(LabelScore):
    """What the model says about one text."""

    top: list[LabelScore] = Field(description="The likeliest labels, best first.")


SPEECH = Speech(
    inputs=text_and_pair,
    prediction=Classification,
    example={"text": "Where is my card?", "text_pair": "Has the card arrived?"},
    truth=lambda labels, _: {"label": (one_of(labels), "The true label.")},
    true_example=lambda labels: {"label": labels[0]},
)
