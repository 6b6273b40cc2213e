"""What the file of a task type in this folder says: the keys of a request, and the shape of an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from components.config import Serving

# A text must hold something to read: at least one character that is not white space, and no NUL. What is named beside
# \s is white space in some of Python, JavaScript and Rust, whose clients read this in the schema, and not in others.
_BLANK = "\\s\\u0000\\u001c-\\u001f\\u0085\\ufeff"
READABLE = f"^[^\\u0000]*[^{_BLANK}][^\\u0000]*$"
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
Score = Annotated[float, Field(ge=0, le=1)]
Key = tuple[Any, str]  # the type of a value, and its description
Keys = Mapping[str, Key]


@dataclass(frozen=True, slots=True)
class Speech:
    """How one task type speaks.

    Args:
        inputs: the keys of a row that it may read, from the limits of the endpoint.
        prediction: what the answer to one row is: the keys that `TaskType.present` gives.
        example: a value for each input, and for options worth showing.
        options: keys that hold for all rows of a request; each may be left out.
        truth: the keys of a true answer, as the columns of a data file are called, from the model's labels and the
            limits; None where there is nothing to correct.
        true_example: a value for each of those keys.
    """

    inputs: Callable[[Serving], Mapping[str, Key]]
    prediction: type[BaseModel]
    example: Mapping[str, Any]
    options: Mapping[str, Key] = field(default_factory=dict)
    truth: Callable[[Sequence[str], Serving], Keys] | None = None
    true_example: Callable[[Sequence[str]], Mapping[str, Any]] = lambda _: {}


class LabelScore(BaseModel):
    """A label and its calibrated probability."""

    label: str
    score: Score


@dataclass(frozen=True, slots=True)
class OfForm:
    """A text that matches a pattern, which the OpenAPI document names; `wish` says in words what it must be."""

    pattern: str
    wish: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def check(self, text: str) -> str:
        """The text, if it matches."""
        if re.search(self.pattern, text) is None:
            raise PydanticCustomError("form", "{wish}", {"wish": self.wish})
        return text


def readable_text(limits: Serving) -> Any:
    """A text that is not blank and not too long."""
    return Annotated[str, Field(min_length=1, max_length=limits.max_characters, pattern=READABLE)]


def one_of(labels: Sequence[str]) -> Any:
    """One of a model's labels; any readable text where it has none."""
    return Literal[tuple(labels)] if labels else Annotated[str, Field(min_length=1, pattern=READABLE)]


def whole(value: object) -> object:
    """1.0 is an integer in JSON Schema, and so here."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def list_of(kind: Any) -> Any:
    """The type of a list of items whose type is made at run time."""
    return GenericAlias(list, (kind,))


def text_and_pair(limits: Serving) -> Mapping[str, Key]:
    """The keys of types that read single texts or pairs of texts."""
    text = readable_text(limits)
    return {"text": (text, "One text."), "text_pair": (text, "The second text of the pair.")}


def absent(description: str) -> Any:
    """A key that may be left out but not be null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]
