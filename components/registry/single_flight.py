"""One run of a model at a time: on this machine by a file that the system frees, on several by their MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from components.registry.lease import lease
from components.settings import Settings
from components.step_store import model_lock


@contextmanager
def single_flight(settings: Settings, name: str) -> Iterator[None]:
    """Hold a model's lock on this machine and, where MLflow is not a file of this machine, on all that share it.

    Raises:
        BusyError: another run of the model is at work, here or elsewhere.
        RegistryError: MLflow does not answer.
    """
    with model_lock(settings.locks, name):
        if settings.embedded_tracking:
            yield
            return
        with lease(settings, name):
            yield
