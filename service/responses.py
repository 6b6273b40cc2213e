"""The shapes of what the pages answer: pydantic models for the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, create_model

from service.schemas import Speech


class ErrorText(BaseModel):
    """What is wrong, and what to do."""

    model_config = ConfigDict(extra="forbid")

    problem: str
    hint: str


class Error(BaseModel):
    """The shape of every error."""

    model_config = ConfigDict(extra="forbid")

    error: ErrorText


class Refusal(BaseModel):
    """A release that was not switched to."""

    version: int | None
    tag: str | None
    reason: str


class TrialFacts(BaseModel):
    """A version that is tried beside the live one, and what has happened to it since it was loaded."""

    version: int
    mode: str = Field(description="shadow: it answers copies of requests; canary: it answers requests.")
    share: float = Field(description="Share of the requests that it gets.")
    state: str = Field(description="running, ended or refused.")
    reason: str = Field(description="Why it is not running.")
    requests: int
    rows: int
    disagreements: int = Field(description="Rows that a shadow decides otherwise than the live version.")
    errors: int = Field(description="Requests that it did not answer; the live version did.")
    dropped: int = Field(description="Copies that were not made, for want of time.")


class ModelFacts(BaseModel):
    """The model that answers now."""

    name: str
    version: int
    description: str
    run_id: str = Field(description="The MLflow run that trained it.")
    task_type: str
    inputs: list[str] = Field(description="The keys of a request for one row.")
    explains: bool = Field(description="Whether POST /explain divides its scores among words.")
    corrections: bool = Field(description="Whether POST /feedback takes true answers.")
    labels: list[str]
    max_length: int = Field(description="Tokens of a window; a longer text is read in several that overlap.")
    metrics: dict[str, float] = Field(description="Scores on the frozen rows.")
    digest: str = Field(description="SHA-256 of the model directory's manifest.")
    decision: str = Field(description="Why it is live.")
    engine: str = Field(description="What computes its answers.")
    refused: Refusal | None = Field(description="The newer version that was not switched to, and why.")
    trial: TrialFacts | None = Field(description="The version that is tried beside, or was last.")


class Word(BaseModel):
    """A word, or several neighbouring words of a long text, and what it adds to the score."""

    input: str = Field(description="The key of its text.")
    start: int = Field(ge=0, description="Its first character, counted in Unicode code points from 0.")
    end: int = Field(ge=1, description="The character behind its last.")
    text: str
    weight: float = Field(description="Its Shapley value: what the score gains on average when it joins the others.")
    error: float = Field(ge=0, description="Standard error of the weight; 0 where all versions were asked about.")


class Explanation(BaseModel):
    """The weights of all words add up to score minus baseline, to 1e-4."""

    model: str
    version: int
    label: str = Field(description="Whose score is explained; 'value' where the model gives a number.")
    score: float = Field(description="Of the whole text.")
    baseline: float = Field(description="Of the text without any word.")
    words: list[Word]
    exact: bool = Field(description="Whether all versions of the text were asked about.")
    versions: int = Field(description="How many were.")


class Stored(BaseModel):
    """A correction is on the disk."""

    stored: bool
    id: str = Field(description="Its id in the file.")
    version: int = Field(description="The version that was live.")


class Alive(BaseModel):
    """The process works."""

    alive: bool


class Ready(BaseModel):
    """A model is loaded and verified."""

    ready: bool
    version: int


def response_model(speech: Speech) -> type[BaseModel]:
    """The pydantic model of an answer to a request."""
    return create_model(
        "PredictResponse",
        __doc__="The answers in the order of the rows, with the model and version that gave all of them.",
        model=(str, Field(examples=["support-requests"])),
        version=(int, Field(examples=[3])),
        predictions=(list[speech.prediction], ...),  # type: ignore[name-defined]  # a type made at run time
    )
