"""The OpenAPI document of the served model: made from the models that read its requests, so that it is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import models_json_schema

from service.engine import Engine
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


class ModelFacts(BaseModel):
    """The model that answers now."""

    name: str
    version: int
    description: str
    run_id: str = Field(description="The MLflow run that trained it.")
    task_type: str
    inputs: list[str] = Field(description="The keys of a request for one row.")
    labels: list[str]
    max_length: int = Field(description="Tokens; the rest of a longer text is not read.")
    metrics: dict[str, float] = Field(description="Scores on the frozen rows.")
    digest: str = Field(description="SHA-256 of the model directory's manifest.")
    decision: str = Field(description="Why it is live.")
    refused: Refusal | None = Field(description="The newer version that was not switched to, and why.")


class Alive(BaseModel):
    """The process works."""

    alive: bool


class Ready(BaseModel):
    """A model is loaded and verified."""

    ready: bool
    version: int


ERRORS = {
    400: "The body is not valid JSON.",
    404: "There is no such page.",
    405: "The page does not take that method.",
    408: "The body arrived too slowly.",
    413: "The body is larger than {largest} bytes.",
    415: "The body is not declared as JSON, or is compressed.",
    422: "The JSON is not such a request: empty, blank, too long, too many, of a wrong type, or an unknown key.",
    429: "More waits than can be answered in time.",
    500: "A fault of the endpoint.",
    503: "Not ready, or the answer was not ready in time.",
}
OF_PREDICT = (400, 405, 408, 413, 415, 422, 429, 500, 503)
OF_PAGE = (405, 500, 503)
RETRIED = {429, 503}
REFERENCE = "#/components/schemas/{model}"


def describe(engine: Engine, largest_body: int) -> dict[str, Any]:
    """OpenAPI 3.1 document of an endpoint that serves this engine."""
    request, response = engine.requests.model, response_model(engine.speech)
    models = (request, response, ModelFacts, Alive, Ready, Error)
    names, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    schemas = {model: names[(model, "validation")] for model in models}
    facts = engine.release
    return {
        "openapi": "3.1.0",
        "info": {
            "title": facts.name,
            "version": str(facts.version),
            "description": _description(facts.description, engine.manifest.labels),
        },
        "paths": {
            "/predict": {"post": _predict(schemas[request], schemas[response], largest_body)},
            "/model": {"get": _page("model", "The model that answers now.", _json(schemas[ModelFacts]))},
            "/livez": {"get": _page("livez", "Whether the process works.", _json(schemas[Alive]))},
            "/readyz": {"get": _page("readyz", "Whether it can answer.", _json(schemas[Ready]))},
            "/metrics": {"get": _page("metrics", "Counters for Prometheus.", {"text/plain": _any()})},
            "/openapi.json": {"get": _page("openapi", "This document.", {"application/json": _any("object")})},
            "/": {"get": _page("page", "This document for people.", {"text/html": _any()})},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def response_model(speech: Speech) -> type[BaseModel]:
    """The pydantic model of an answer to a request."""
    return create_model(
        "PredictResponse",
        __doc__="The answers in the order of the rows, with the model and version that gave all of them.",
        model=(str, Field(examples=["support-requests"])),
        version=(int, Field(examples=[3])),
        predictions=(list[speech.prediction], ...),  # type: ignore[name-defined]  # a type made at run time
    )


def _description(text: str, labels: Sequence[str]) -> str:
    return f"{text}\n\nLabels: {', '.join(labels)}.".strip() if labels else text


def _predict(request: dict[str, Any], response: dict[str, Any], largest_body: int) -> dict[str, Any]:
    operation = _page("predict", "What the model says about one row or several.", _json(response), OF_PREDICT)
    operation["requestBody"] = {"required": True, "content": _json(request)}
    too_large = operation["responses"]["413"]
    too_large["description"] = too_large["description"].format(largest=largest_body)
    return operation


def _page(name: str, summary: str, content: dict[str, Any], errors: tuple[int, ...] = OF_PAGE) -> dict[str, Any]:
    good = {"description": summary, "content": content}
    bad = {str(status): _error(status) for status in errors}
    return {"operationId": name, "summary": summary, "responses": {"200": good, **bad}}


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model="Error")}
    response: dict[str, Any] = {"description": ERRORS[status], "content": _json(schema)}
    if status in RETRIED:
        wait = {"description": "Seconds to wait.", "schema": {"type": "string"}}
        response["headers"] = {"Retry-After": wait}
    return response


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _any(kind: str = "string") -> dict[str, Any]:
    return {"schema": {"type": kind}}
