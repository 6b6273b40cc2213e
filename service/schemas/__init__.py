"""How each task type speaks over HTTP: one file a type, found by its name."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from components.errors import BundleError
from service.schemas.base import Speech

__all__ = ["Speech", "find_speech", "speech_names"]


def speech_names() -> list[str]:
    """Names of the task types that the endpoint can speak."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def find_speech(task_type: str) -> Speech:
    """How a task type speaks.

    Raises:
        BundleError: the endpoint does not know that type.
    """
    if task_type not in speech_names():
        raise BundleError(f"The endpoint cannot speak {task_type}.", f"use one of: {', '.join(speech_names())}.")
    speech: Speech = import_module(f"{__name__}.{task_type}").SPEECH
    return speech
