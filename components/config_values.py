"""What all sections of run files are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]


class Section(BaseModel):
    """A part of the run file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
