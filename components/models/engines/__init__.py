"""Engines: what computes a network. One file a library, found by looking into this folder; numpy in, numpy out."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from components.errors import BundleError
from components.models.engines.base import Engine, EngineFacts, Source, read_facts, write_facts

__all__ = ["Engine", "EngineFacts", "Source", "engine_names", "find_engine", "read_facts", "write_facts"]


@cache
def _engines() -> dict[str, Engine]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.endswith("_engine"))
    found = [engine for name in modules for engine in import_module(f"{__name__}.{name}").ENGINES]
    return {engine.name: engine for engine in found}


def engine_names() -> list[str]:
    """Names of all engines, sorted."""
    return sorted(_engines())


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        BundleError: there is none.
    """
    if name not in _engines():
        raise BundleError(
            f"There is no engine '{name}'.", f"set serving.engine to one of: {', '.join(engine_names())}."
        )
    return _engines()[name]
