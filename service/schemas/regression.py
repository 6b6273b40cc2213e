"""Requests and answers of regression."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from service.schemas.base import Speech, text_and_pair


class Number(BaseModel):
    """What the model says about one text."""

    value: float = Field(description="The number, in the unit of the training data.")


SPEECH = Speech(
    inputs=text_and_pair,
    prediction=Number,
    example={"text": "A man plays the guitar.", "text_pair": "Somebody makes music."},
    truth=lambda _labels, _: {"value": (Annotated[float, Field(allow_inf_nan=False)], "The true number.")},
    true_example=lambda _: {"value": 2.4},
)
