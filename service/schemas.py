"""Requests and answers of each task type: what `POST /predict` takes, and what it gives.

A request is read by a pydantic model made for one served model, so that its limits stand in the OpenAPI document
and are checked by the same rule. Adding a task type is one entry in `SCHEMAS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from components.config import Serving
from components.task_types import Answer, Row
from service.problems import not_json, wrong_values

MOST_LABELS = 10_000  # largest top_k
MOST_SENTENCES = 5  # problems that one answer lists
# A text must hold something to read: at least one character that is not white space, and no NUL.
READABLE = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been read: the rows to predict, and how many labels to name for each."""

    rows: tuple[Row, ...]
    top_k: int


@dataclass(frozen=True, slots=True)
class TaskSchemas:
    """How one task type speaks.

    Args:
        request: makes the pydantic model of a request from the limits and whether texts come in pairs.
        response: the pydantic model of an answer.
        predictions: the `predictions` of an answer, from what the model said, its labels and top_k.
    """

    request: Callable[[Serving, bool], type[BaseModel]]
    response: type[BaseModel]
    predictions: Callable[[Sequence[Answer], Sequence[str], int], list[dict[str, Any]]]


class LabelScore(BaseModel):
    """A label and its calibrated probability."""

    label: str
    score: Annotated[float, Field(ge=0, le=1)]


class Classification(LabelScore):
    """What the model says about one text."""

    top: list[LabelScore] = Field(description="The likeliest labels, best first.")


class ClassificationAnswer(BaseModel):
    """The answers in the order of the texts, with the model and version that gave all of them."""

    model: str = Field(examples=["support-requests"])
    version: int = Field(examples=[3])
    predictions: list[Classification]


def classification_request(limits: Serving, pairs: bool) -> type[BaseModel]:
    """One text (`text`) or several (`texts`); for a model of pairs, `text` with `text_pair`, or several such items."""
    text = Annotated[str, Field(min_length=1, max_length=limits.max_characters, pattern=READABLE)]
    second: dict[str, Any] = {"text_pair": (text, _absent("The second text of the pair."))} if pairs else {}
    item: Any = text
    if pairs:
        item = create_model("TextPair", __config__=STRICT, text=(text, ...), text_pair=(text, ...))
    many = Annotated[list[item], Field(min_length=1, max_length=limits.max_texts)]
    return create_model(
        "PredictRequest",
        __config__=ConfigDict(**STRICT, json_schema_extra=_shape(pairs)),
        text=(text, _absent("One text.")),
        **second,
        texts=(many, _absent("Several pairs of texts." if pairs else "Several texts.")),
        top_k=(
            Annotated[int, Field(ge=1, le=MOST_LABELS), BeforeValidator(_whole)],
            _absent(f"How many labels to name for each text; {limits.top_k} unless said otherwise."),
        ),
    )


def _whole(value: object) -> object:
    """1.0 is an integer in JSON Schema, and so here."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _absent(description: str) -> Any:
    """A key that may be left out but not be null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


def _shape(pairs: bool) -> dict[str, Any]:
    return {"oneOf": _either(pairs), "examples": [_example(pairs)]}


def _either(pairs: bool) -> list[dict[str, Any]]:
    one = {"required": ["text", "text_pair"] if pairs else ["text"]}
    forbidden = [{"required": [key]} for key in (("text", "text_pair") if pairs else ("text",))]
    several = {"required": ["texts"], "not": {"anyOf": forbidden}}
    return [{**one, "not": {"required": ["texts"]}}, several]


def _example(pairs: bool) -> dict[str, Any]:
    if pairs:
        return {"texts": [{"text": "A dog sleeps.", "text_pair": "An animal rests."}], "top_k": 2}
    return {"texts": ["Where is my card?", "The rate was wrong."], "top_k": 2}


def classification_predictions(answers: Sequence[Answer], labels: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The likeliest labels of each text with their scores to six decimals."""
    return [_classification(answer, labels, top_k) for answer in answers]


def _classification(answer: Answer, labels: Sequence[str], top_k: int) -> dict[str, Any]:
    scores = answer.scores
    best = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:top_k]
    top = [{"label": labels[index], "score": round(scores[index], 6)} for index in best]
    return {"label": answer.label, "score": round(answer.score, 6), "top": top}


SCHEMAS: Mapping[str, TaskSchemas] = {
    "text_classification": TaskSchemas(classification_request, ClassificationAnswer, classification_predictions),
}


def read_request(model: type[BaseModel], body: bytes, limits: Serving) -> Asked:
    """The rows and top_k of a request body.

    Raises:
        Problem: 400 for what is not JSON, 422 for JSON that is not such a request.
    """
    try:
        request: Any = model.model_validate_json(body)
    except ValidationError as error:
        raise _all_problems(error) from None  # the cause quotes the texts
    given = request.model_fields_set
    top_k = request.top_k if "top_k" in given else limits.top_k
    pairs = "text_pair" in model.model_fields
    if "texts" in given:
        if given & {"text", "text_pair"}:
            raise wrong_values(["'texts' and 'text' cannot stand in one request"])
        rows = tuple(item.model_dump() if pairs else {"text": item} for item in request.texts)
        return Asked(rows, top_k)
    missing = [key for key in (("text", "text_pair") if pairs else ("text",)) if key not in given]
    if len(missing) == 1 and pairs:
        raise wrong_values([f"the key '{missing[0]}' is missing: the model was trained on pairs of texts"])
    if missing:
        raise wrong_values(["the request holds neither 'text' nor 'texts'"])
    row = {"text": request.text, "text_pair": request.text_pair} if pairs else {"text": request.text}
    return Asked((row,), top_k)


def _all_problems(error: ValidationError) -> Exception:
    found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        reason = str(found[0]["ctx"]["error"])  # names line and column and quotes nothing
        return not_json(f"half a surrogate pair, or {reason}" if "hex escape" in reason else reason)
    listed = [_sentence(dict(item)) for item in found[:MOST_SENTENCES]]
    more = len(found) - len(listed)
    return wrong_values([*listed, f"and {more} more problems"] if more else listed)


KINDS = {
    "string_type": "must be a string",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "missing": "is missing",
    "string_too_short": "is empty; every text must hold something to read",
    "greater_than_equal": "must be at least 1",
    "less_than_equal": f"must be at most {MOST_LABELS}",
    "string_unicode": "is not valid Unicode",
}


def _sentence(item: dict[str, Any]) -> str:
    place = _place(item["loc"])
    context = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {str(item['loc'][-1])[:40]!a}"
        case "string_too_long":
            return f"{place} is {len(item['input'])} characters long, the limit is {context['max_length']}"
        case "too_long":
            return f"{place} holds more than {context['max_length']} items"
        case "too_short":
            return f"{place} is an empty list"
        case "string_pattern_mismatch" if "\x00" in item["input"]:
            return f"{place} holds a NUL character"
        case "string_pattern_mismatch":
            return f"{place} is blank; every text must hold something to read"
    return f"{place} {KINDS.get(item['type'], 'has a wrong value')}"


def _place(location: Sequence[str | int]) -> str:
    if not location:
        return "the body"
    first, *rest = location
    return f"'{first}" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest) + "'"
