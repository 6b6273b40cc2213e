"""Requests: what `POST /predict` takes of one served model, read by one pydantic model made for it.

Its limits stand in the OpenAPI document and are checked by the same rule. Which keys a request has is said by the task
type's file in `schemas/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model

from components.config import Serving
from components.task_types import Row
from service.problems import Problem, not_json, wrong_values
from service.schemas import find_speech
from service.schemas.base import READABLE, STRICT, Speech, absent, whole

MOST_LABELS = 10_000  # largest top_k
MOST_SENTENCES = 5  # problems that one answer lists


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been read: the rows to predict, and how many labels to name for each."""

    rows: tuple[Row, ...]
    top_k: int


@dataclass(frozen=True, slots=True)
class AskedOfAll:
    """What is asked about every row of a file: the options of the task type, and how many of the likeliest to name."""

    options: Mapping[str, Any]
    top_k: int


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads the requests of one model.

    Args:
        model: the pydantic model of a request.
        inputs: keys of one row, such as text and text_pair.
        many: the key of several rows.
        options: keys that hold for all rows of a request.
    """

    model: type[BaseModel]
    inputs: tuple[str, ...]
    many: str
    options: tuple[str, ...]

    def read(self, body: bytes, limits: Serving) -> Asked:
        """The rows and top_k of a request body.

        Raises:
            Problem: 400 for what is not JSON, 422 for JSON that is not such a request.
        """
        try:
            request: Any = self.model.model_validate_json(body)
        except ValidationError as error:
            raise all_problems(error) from None  # the cause quotes the texts
        given = request.model_fields_set
        options = {name: _plain(getattr(request, name)) for name in self.options if name in given}
        top_k = request.top_k if "top_k" in given else limits.top_k
        return Asked(tuple({**row, **options} for row in self._rows(request, given)), top_k)

    def _rows(self, request: Any, given: set[str]) -> list[dict[str, Any]]:
        if self.many in given:
            if given & set(self.inputs):
                raise wrong_values([f"'{self.many}' and '{self.inputs[0]}' cannot stand in one request"])
            alone = len(self.inputs) == 1
            return [{self.inputs[0]: item} if alone else item.model_dump() for item in getattr(request, self.many)]
        missing = [key for key in self.inputs if key not in given]
        if missing == list(self.inputs):
            raise wrong_values([f"the request holds neither '{self.inputs[0]}' nor '{self.many}'"])
        if missing:
            raise wrong_values([f"the key '{missing[0]}' is missing: this model reads {' and '.join(self.inputs)}"])
        return [{key: getattr(request, key) for key in self.inputs}]


def request_reader(speech: Speech, limits: Serving, inputs: Sequence[str], many: str) -> RequestReader:
    """The reader for a model that was trained on rows with these inputs."""
    own = {key: speech.inputs(limits)[key] for key in inputs}
    item: Any = own[inputs[0]][0]
    if len(inputs) > 1:
        required: dict[str, Any] = {key: (kind, ...) for key, (kind, _) in own.items()}
        item = create_model("Row", __config__=STRICT, **required)
    fields: dict[str, Any] = {
        **{key: (kind, absent(description)) for key, (kind, description) in own.items()},
        many: (Annotated[list[item], Field(min_length=1, max_length=limits.max_texts)], absent("Several of them.")),
        **{key: (kind, absent(description)) for key, (kind, description) in speech.options.items()},
        "top_k": (
            Annotated[int, Field(ge=1, le=MOST_LABELS), BeforeValidator(whole)],
            absent(f"How many of the likeliest to name; {limits.top_k} unless said otherwise."),
        ),
    }
    model = create_model("PredictRequest", __config__=STRICT, **fields)
    return RequestReader(model, tuple(inputs), many, tuple(speech.options))


def read_options(task_type: str, options: Mapping[str, Any]) -> AskedOfAll:
    """Options as a request would have them, checked by the same rules.

    Raises:
        Problem: 422 where this task type has no such option, or a value is wrong.
    """
    speech, limits = find_speech(task_type), Serving()
    inputs = list(speech.inputs(limits))
    row = {key: speech.example[key] for key in inputs}
    body = json.dumps({**row, **options}).encode()
    asked = request_reader(speech, limits, inputs, "rows").read(body, limits)
    return AskedOfAll({key: value for key, value in asked.rows[0].items() if key not in inputs}, asked.top_k)


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def all_problems(error: ValidationError) -> Problem:
    """What is wrong with a body: 400 where it is not JSON, else 422 with a sentence for each fault."""
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
    "less_than_equal": f"must be at most {MOST_LABELS}",
    "string_unicode": "is not valid Unicode",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
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
        case "literal_error":
            return f"{place} is none of the model's labels; GET /model lists them"
        case "greater_than_equal":
            return f"{place} must be at least {context['ge']:g}"
        case "string_pattern_mismatch" if context["pattern"] != READABLE:
            return f"{place} has a wrong form"
        case "string_pattern_mismatch" if "\x00" in item["input"]:
            return f"{place} holds a NUL character"
        case "string_pattern_mismatch":
            return f"{place} is blank; every text must hold something to read"
        case "form":  # what a task type's own key wants, in its own words
            return f"{place} {item['msg']}"
    return f"{place} {KINDS.get(item['type'], 'has a wrong value')}"


def _place(location: Sequence[str | int]) -> str:
    if not location:
        return "the body"
    first, *rest = location
    return f"'{first}" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest) + "'"
