"""Requests and answers of token_classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, create_model

from components.config import Serving
from service.schemas.base import STRICT, Keys, Score, Speech, list_of, one_of, readable_text, whole


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


def _entities(labels: Sequence[str], _limits: Serving) -> Keys:
    span = create_model(
        "TrueEntity",
        __config__=STRICT,
        start=(Annotated[int, Field(ge=0), BeforeValidator(whole)], ...),
        end=(Annotated[int, Field(ge=1), BeforeValidator(whole)], ...),
        label=(one_of(labels), ...),
    )
    return {"entities": (list_of(span), "All entities, without overlap; an empty list if there is none.")}


SPEECH = Speech(
    inputs=lambda limits: {"text": (readable_text(limits), "One text.")},
    prediction=Entities,
    example={"text": "A table for 4 on August 23rd, please."},
    truth=_entities,
    true_example=lambda labels: {"entities": [{"start": 17, "end": 28, "label": labels[0]}]},
)
