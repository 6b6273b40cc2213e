"""The OpenAPI document of the served model: made from the models that read its requests, so that it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.engine import Engine
from service.line_batches import MOST_BYTES
from service.responses import Alive, Error, Explanation, ModelFacts, Ready, Stored, response_model

ERRORS = {
    400: "The body is not valid JSON.",
    401: "The endpoint wants an API key, and got none or a wrong one.",
    404: "There is no such page.",
    405: "The page does not take that method.",
    408: "The body arrived too slowly.",
    413: "The body is larger than {largest} bytes.",
    415: "The body is not declared as what the page takes, or is compressed.",
    422: "The JSON is not such a request: empty, blank, too long, too many, of a wrong type, or an unknown key.",
    429: "More waits than can be answered in time.",
    500: "A fault of the endpoint.",
    501: "This model or this endpoint cannot do that.",
    503: "Not ready, or the answer was not ready in time.",
}
OF_QUESTION = (400, 401, 405, 408, 413, 415, 422, 429, 500, 503)
OF_PAGE = (401, 405, 500, 503)
RETRIED = {429, 503}
REFERENCE = "#/components/schemas/{model}"
KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the endpoint wants one."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
ANY_KEY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"header": []}]
LINES = "application/x-ndjson"
REQUEST_ID = {"X-Request-Id": {"description": "Names the request in the log.", "schema": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What differs between endpoints of one model: the largest body in bytes, and whether they keep corrections."""

    largest_body: int
    corrections: bool


def describe(engine: Engine, abilities: Abilities) -> dict[str, Any]:
    """OpenAPI 3.1 document of an endpoint that serves this engine."""
    facts, forms = engine.release, engine.forms
    correction = forms.correction if abilities.corrections else None
    explanation = forms.explanation if engine.predictor.task_type.explains else None
    request, response = engine.requests.model, response_model(engine.speech)
    models: list[type[BaseModel]] = [request, response, ModelFacts, Alive, Ready, Error]
    models += [correction, Stored] if correction else []
    models += [explanation, Explanation] if explanation else []
    names, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    schemas = {model: names[(model, "validation")] for model in models}
    kinds = {**definitions["$defs"], **_kinds_of_request(engine, definitions["$defs"][request.__name__])}
    questions = {"/predict": {"post": _predict(schemas[request], schemas[response])}, "/batch": {"post": _batch()}}
    if explanation:
        questions["/explain"] = {"post": _explain(schemas[explanation], schemas[Explanation])}
    if correction:
        questions["/feedback"] = {"post": _feedback(schemas[correction], schemas[Stored])}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": facts.name,
            "version": str(facts.version),
            "description": _description(facts.description, engine.manifest.labels),
        },
        "paths": {**_with_limit(questions, abilities.largest_body), **_pages(schemas)},
        "security": ANY_KEY,
        "components": {"schemas": kinds, "securitySchemes": KEYS},
    }


def _kinds_of_request(engine: Engine, whole: dict[str, Any]) -> dict[str, Any]:
    """A request as either of the two that it may be: what one pydantic model reads, for those who write it."""
    inputs, many, example = engine.requests.inputs, engine.requests.many, engine.speech.example
    row = {key: example[key] for key in inputs}
    shared = {key: kind for key, kind in whole["properties"].items() if key not in (*inputs, many)}
    rest = {"top_k": 2, **{key: value for key, value in example.items() if key in shared}}
    of_row = {key: whole["properties"][key] for key in inputs}
    one = _object("OneRow", "A request for one row.", {**of_row, **shared}, inputs, {**row, **rest})
    item = row if len(inputs) > 1 else row[inputs[0]]
    of_rows = {many: whole["properties"][many], **shared}
    several = _object("SeveralRows", "A request for several rows.", of_rows, [many], {many: [item], **rest})
    either = [{"$ref": REFERENCE.format(model=name)} for name in ("OneRow", "SeveralRows")]
    request = {"title": "PredictRequest", "oneOf": either, "examples": [*one["examples"], *several["examples"]]}
    return {"PredictRequest": request, "OneRow": one, "SeveralRows": several}


def _object(
    title: str, description: str, properties: dict[str, Any], required: Sequence[str], example: dict[str, Any]
) -> dict[str, Any]:
    shape = {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}
    return {"title": title, "description": description, **shape, "examples": [example]}


def _description(text: str, labels: Sequence[str]) -> str:
    return f"{text}\n\nLabels: {', '.join(labels)}.".strip() if labels else text


def _predict(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return _question("predict", "What the model says about one row or several.", _json(request), _json(response))


def _batch() -> dict[str, Any]:
    summary = "Answers to many rows, as JSON lines in and JSON lines out."
    request = "A request for one row on each line, as POST /predict takes it; at most 256 MiB together."
    response = "On each line `line` (from 1) with `version` and `prediction`, or with `error`."
    # Of whatever type: what is on a line is told of on a line.
    lines = {LINES: {"schema": {"description": request}, "example": '{"text": "..."}\n{"text": "..."}\n'}}
    answers = {LINES: {"schema": {"description": response}}}
    operation = _question("batch", summary, lines, answers)
    del operation["responses"]["422"]  # a bad line is told of on its own line
    return operation


def _explain(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    answers = {**_json(response), "text/html": _any()}
    return _question("explain", "How much each word added to a score, as JSON or as a page.", _json(request), answers)


def _feedback(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    operation = _question("feedback", "A true answer, kept for the next training.", _json(request), _json(response))
    operation["responses"]["201"] = operation["responses"].pop("200")
    return operation


def _question(name: str, summary: str, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    operation = _page(name, summary, response, OF_QUESTION)
    return {**operation, "requestBody": {"required": True, "content": request}}


def _with_limit(questions: dict[str, Any], largest: int) -> dict[str, Any]:
    for path, operation in questions.items():
        too_large = operation["post"]["responses"]["413"]
        limit = MOST_BYTES if path == "/batch" else largest
        too_large["description"] = too_large["description"].format(largest=limit)
    return questions


def _pages(schemas: Mapping[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    pages = {
        "/model": _page("model", "The model that answers now.", _json(schemas[ModelFacts])),
        "/metrics": _page("metrics", "Counters for Prometheus.", {"text/plain": _any()}),
        "/openapi.json": _page("openapi", "This document.", {"application/json": _any("object")}),
        "/livez": _open("livez", "Whether the process works.", _json(schemas[Alive])),
        "/readyz": _open("readyz", "Whether it can answer.", _json(schemas[Ready])),
        "/": _open("page", "A page to try the model on.", {"text/html": _any()}),
        "/docs": _open("docs", "This document for people.", {"text/html": _any()}),
    }
    return {path: {"get": page} for path, page in pages.items()}


def _open(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    """A page that wants no key."""
    page = _page(name, summary, content, tuple(status for status in OF_PAGE if status != 401))
    return {**page, "security": []}


def _page(name: str, summary: str, content: dict[str, Any], errors: tuple[int, ...] = OF_PAGE) -> dict[str, Any]:
    good = {"description": summary, "headers": REQUEST_ID, "content": content}
    bad = {str(status): _error(status) for status in errors}
    return {"operationId": name, "summary": summary, "responses": {"200": good, **bad}}


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model="Error")}
    wait = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}}
    headers = {**REQUEST_ID, **(wait if status in RETRIED else {})}
    return {"description": ERRORS[status], "headers": headers, "content": _json(schema)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _any(kind: str = "string") -> dict[str, Any]:
    return {"schema": {"type": kind}}
