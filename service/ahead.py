"""A model that is loaded while the rest of the process is still imported: each takes half of a start."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from service.engine import Engine, load_engine

_begun: dict[Path, Future[Engine]] = {}


def begin_to_load(source: Path) -> None:
    """Load the model of the bundle whose `src` folder is given, in a thread of its own."""
    with_one_task = ThreadPoolExecutor(1, thread_name_prefix="load")
    _begun[source.resolve()] = with_one_task.submit(load_engine, source.resolve())
    with_one_task.shutdown(wait=False)


def loaded(source: Path) -> Engine:
    """The model of a bundle: the one that was begun, or one that is loaded now.

    Raises:
        BundleError: as of `load_engine`.
    """
    begun = _begun.pop(source.resolve(), None)
    return begun.result() if begun else load_engine(source)
