"""Requests and answers of fill_mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from components.config import Serving
from service.schemas.base import READABLE, Key, Score, Speech, readable_text

MOST_WORDS = 100
Word = Annotated[str, Field(min_length=1, max_length=100, pattern=READABLE)]


class TokenScore(BaseModel):
    """A token and its probability; one that goes on the word before it begins with ##."""

    token: str
    score: Score


class WordScore(BaseModel):
    """A word that was asked for."""

    word: str
    score: Score | None = Field(
        description="Of a word of several pieces the product of theirs; null where it is not in the vocabulary, or "
        "where it has more pieces than masks follow each other."
    )


class Mask(BaseModel):
    """What may stand in one mask."""

    position: int = Field(description="Character of the text at which the mask begins.")
    top: list[TokenScore] = Field(description="The likeliest tokens, best first, at most 100.")
    targets: list[WordScore] = Field(description="The words of 'targets', in their order.")


class Filled(BaseModel):
    """What the model says about one text."""

    masks: list[Mask] = Field(description="One for each [MASK], in their order.")
    filled: str = Field(description="The text with the likeliest token in each mask.")
    log_likelihood: float | None = Field(
        description="How usual a text without masks is: the mean natural logarithm of its tokens' probabilities, each "
        "guessed from the rest of the text, of some of them in a long text; null for a text with masks."
    )


def text(limits: Serving) -> Mapping[str, Key]:
    return {"text": (readable_text(limits), "One text, with [MASK] for each token to be guessed.")}


SPEECH = Speech(
    inputs=text,
    prediction=Filled,
    example={"text": "The [MASK] was sent to prison for ten years.", "targets": ["man", "king"]},
    options={
        "targets": (
            Annotated[list[Word], Field(min_length=1, max_length=MOST_WORDS)],
            "Words whose probability in each mask is wanted.",
        )
    },
)
