"""What `POST /explain` and `POST /feedback` take of one served model: one row, and what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from components.config import Serving
from components.models.explanation import VERSIONS
from service.schemas.base import READABLE, STRICT, Speech, absent, one_of, whole

MOST_VERSIONS = 2048
MOST_EXPLAINED = 5000  # characters of a text: beyond, a few words say little, and asking takes long
Comment = Annotated[str, Field(max_length=1000, pattern=READABLE)]
RequestId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Label = Annotated[str, Field(min_length=1, max_length=500, pattern=READABLE)]
Versions = Annotated[int, Field(ge=64, le=MOST_VERSIONS), BeforeValidator(whole)]


@dataclass(frozen=True, slots=True)
class RowForms:
    """The pydantic models of an explanation's request and of a correction; None where there is nothing to correct."""

    explanation: type[BaseModel]
    correction: type[BaseModel] | None


def row_forms(speech: Speech, inputs: Sequence[str], labels: Sequence[str], limits: Serving) -> RowForms:
    """The forms of a model that was trained on rows with these inputs, and gives these labels."""
    own = speech.inputs(limits)
    row = {key: (own[key][0], Field(description=own[key][1])) for key in inputs}
    example = {key: speech.example[key] for key in inputs}
    short = speech.inputs(limits.model_copy(update={"max_characters": min(limits.max_characters, MOST_EXPLAINED)}))
    explained = {key: (short[key][0], Field(description=short[key][1])) for key in inputs}
    return RowForms(_explanation(speech, explained, example, labels), _correction(speech, row, example, labels, limits))


def _explanation(
    speech: Speech, row: dict[str, Any], example: dict[str, Any], labels: Sequence[str]
) -> type[BaseModel]:
    options = {key: (kind, absent(description)) for key, (kind, description) in speech.options.items()}
    shown = {**example, **{key: value for key, value in speech.example.items() if key in options}}
    label = Label if "labels" in options else one_of(labels)  # labels of the request, or of the model
    wanted = (label, absent("The label whose score is explained; the likeliest unless said otherwise."))
    fields: dict[str, Any] = {
        **row,
        **options,
        **({"label": wanted} if labels else {}),
        "versions": (
            Versions,
            absent(f"About how many versions of a longer text are asked about; {VERSIONS} unless given."),
        ),
    }
    return create_model(
        "ExplainRequest", __config__=_config(shown), __doc__="A row whose answer shall be explained.", **fields
    )


def _correction(
    speech: Speech, row: dict[str, Any], example: dict[str, Any], labels: Sequence[str], limits: Serving
) -> type[BaseModel] | None:
    if speech.truth is None:
        return None
    truth = {key: (kind, Field(description=said)) for key, (kind, said) in speech.truth(labels, limits).items()}
    shown = {**example, **speech.true_example(labels)}
    fields: dict[str, Any] = {
        **row,
        **truth,
        "comment": (Comment, absent("Why, for whoever reads it.")),
        "request": (RequestId, absent("The X-Request-Id of the answer that was wrong.")),
    }
    return create_model("Correction", __config__=_config(shown), __doc__="A row with its true answer.", **fields)


def _config(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(**STRICT, json_schema_extra={"examples": [example]})
