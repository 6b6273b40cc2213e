"""Requests and answers of multi_label."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.schemas.base import LabelScore, Score, Speech, list_of, one_of, text_and_pair


class Labels(BaseModel):
    """What the model says about one text."""

    labels: list[str] = Field(description="All labels that apply, sorted; none may.")
    score: Score = Field(description="How likely the least sure decision about a label is right.")
    top: list[LabelScore] = Field(description="The likeliest labels, best first, whether they apply or not.")


SPEECH = Speech(
    inputs=text_and_pair,
    prediction=Labels,
    example={"text": "Thanks, that was funny!", "text_pair": "You are welcome."},
    truth=lambda labels, _: {"labels": (list_of(one_of(labels)), "All labels that apply; an empty list if none does.")},
    true_example=lambda labels: {"labels": list(labels[:1])},
)
