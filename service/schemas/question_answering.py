"""Requests and answers of question_answering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from components.config import Serving
from service.schemas.base import STRICT, Key, Score, Speech, readable_text, whole


class Candidate(BaseModel):
    """A part of the context that may be the answer, and its calibrated probability."""

    text: str
    start: int = Field(ge=0, description="Its first character in the context (code points, from 0).")
    end: int = Field(ge=1, description="The character after its last.")
    score: Score


class FoundAnswer(BaseModel):
    """What the model says about one question."""

    answer: str = Field(description="The answer, a part of the context; empty where it holds none.")
    start: int | None = Field(description="Its first character in the context (code points, from 0), or null.")
    end: int | None = Field(description="The character after its last, or null.")
    score: Score = Field(description="Calibrated probability that this is right.")
    no_answer_score: Score = Field(description="Calibrated probability that the context holds no answer.")
    candidates: list[Candidate] = Field(description="The likeliest parts of the context, best first.")


class TrueAnswers(BaseModel):
    """True answers as SQuAD writes them: each text, and its first character in the context."""

    model_config = STRICT

    text: list[str]
    answer_start: list[Annotated[int, Field(ge=0), BeforeValidator(whole)]]


def _question_and_context(limits: Serving) -> Mapping[str, Key]:
    text = readable_text(limits)
    return {"question": (text, "One question."), "context": (text, "The text that may hold the answer.")}


SPEECH = Speech(
    inputs=_question_and_context,
    prediction=FoundAnswer,
    example={"question": "How many guests are coming?", "context": "A table for five at eight tonight, please."},
    truth=lambda _labels, _: {"answers": (TrueAnswers, "Where the answer stands; empty lists if there is none.")},
    true_example=lambda _: {"answers": {"text": ["five"], "answer_start": [12]}},
)
