"""The run file's key `data.feedback`: whether the corrections that people sent become training rows, and which."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field


def _true_or_files(value: object) -> object:
    """One path is a list of one; what is neither true, false nor paths gets one sentence instead of one a type."""
    if isinstance(value, bool):
        return value
    paths = (value,) if isinstance(value, str) else value
    if isinstance(paths, list | tuple) and paths and all(isinstance(path, str) for path in paths):
        return tuple(paths)
    raise ValueError(f"write true, false, a path, or a list of paths, not {value!r}")


Feedback = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_true_or_files),
    Field(
        description="true trains also on the corrections that the endpoint was sent (POST /feedback); paths or globs "
        "name files of corrections with our own column names. The newest of a text counts, also against train; frozen "
        "rows stay as they are. See docs/labelling.md."
    ),
]
