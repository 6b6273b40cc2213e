"""Requests and answers of token_classification."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.schemas.base import Score, Speech, readable_text


class Entity(BaseModel):
    """A part of the text that is something's name, a date, a number of guests."""

    start: int = Field(ge=0, description="Its first character, counted in Unicode code points from 0.")
    end: int = Field(ge=1, description="The character behind its last.")
    text: str = Field(description="The text from start to end, as it was sent.")
    label: str
    score: Score = Field(description="Mean of the calibrated probabilities of the tags of its units.")


class Entities(BaseModel):
    """What the model says about one text."""

    entities: list[Entity] = Field(description="In the order of the text, without overlap.")


SPEECH = Speech(
    inputs=lambda limits: {"text": (readable_text(limits), "One text.")},
    prediction=Entities,
    example={"text": "A table for 4 on August 23rd, please."},
)
