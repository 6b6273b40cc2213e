"""Requests and answers of regression."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.schemas.base import Speech, text_and_pair


class Number(BaseModel):
    """What the model says about one text."""

    value: float = Field(description="The number, in the unit of the training data.")


SPEECH = Speech(
    inputs=text_and_pair,
    prediction=Number,
    example={"text": "A man plays the guitar.", "text_pair": "Somebody makes music."},
)
