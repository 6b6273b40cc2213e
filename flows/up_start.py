"""What `rebert up` makes sure of before it starts anything: it is alone, its ports are free, signals end it well."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from components.errors import BusyError, ServingError
from components.serving.endpoint_process import open_socket
from components.settings import Settings
from components.step_store import model_lock
from flows import servers
from flows.up_screen import View

SECOND_THOUGHTS_SECONDS = 1.0  # a signal that comes sooner after the first one is the same, sent to a group as well


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person may ask of `rebert up`; a port of 0 takes a free one, `runs` is how many at a time."""

    host: str = servers.LOOPBACK
    prefect_port: int = 4200
    mlflow_port: int = 5000
    runs: int = 1


def free_ports(settings: Settings, wishes: Wishes) -> dict[str, Any]:
    """The ports of the servers that are started here, each seen to be free.

    Raises:
        ServingError: one is taken.
    """
    from components.registry.store import is_server

    started = {"prefect_port": settings.prefect_api_url is None, "mlflow_port": not is_server(settings.tracking_uri)}
    chosen = {}
    for name in (name for name, here in started.items() if here):
        port = getattr(wishes, name)
        try:
            with open_socket(wishes.host, port) as listener:
                chosen[name] = listener.getsockname()[1]
        except ServingError as error:
            option = f"--{name.replace('_', '-')}"
            raise ServingError(error.problem, f"end that process, or name another with {option}.") from error
    if len(set(chosen.values())) < len(chosen):
        raise ServingError(f"Port {wishes.mlflow_port} cannot have two servers.", "name another with --mlflow-port.")
    return chosen


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind((servers.LOOPBACK, 0))
        return int(probe.getsockname()[1])


class _Said(logging.Handler):
    """Gives what our own code warns of to the view."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self.view = view

    def emit(self, record: logging.LogRecord) -> None:
        self.view.say(record.getMessage())


@contextmanager
def warnings_to(view: View) -> Iterator[None]:
    """Have warnings in the view alone: a line in between would tear the table or the JSON."""
    logger, said = logging.getLogger("rebert"), _Said(view)
    before, logger.handlers = logger.handlers, [said]
    try:
        yield
    finally:
        logger.handlers = before


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Be the only one that keeps the programs of a folder at work.

    Raises:
        BusyError: another process does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(model_lock(settings.locks, ".up"))
        except BusyError as error:
            raise BusyError(
                f"'rebert up' is at work already for {settings.home}: {error.problem}",
                "use what it shows, or end it first.",
            ) from error
        yield


@contextmanager
def signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM end everything in good order; a second one at once, and the leashes see to the rest."""
    ended, first = threading.Event(), 0.0

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if ended.is_set() and time.monotonic() - first > SECOND_THOUGHTS_SECONDS:
            os._exit(128 + number)
        first = first or time.monotonic()
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            with suppress(ValueError):
                signal.signal(number, handler)
