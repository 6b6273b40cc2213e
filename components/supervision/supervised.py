"""What everything that is kept at work has in common: a thread of its own, its condition, and a listener."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from typing import Any

from components.settings import without_passwords
from components.supervision.programs import Condition, Listener, State

STABLE_SECONDS = 60.0  # what went well for so long was not at fault: the next pause is short again
RETRIES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds before the first, second, ... retry


class Supervised(ABC):
    """Something that is supervised in a thread until it is stopped.

    A base class, as a part of `rebert up` is this with another `_run`: it supervises until `_end` is set. What it
    raises, such as a machine without memory for a new process, ends no thread: it is told, and tried again.

    Args:
        condition: at the beginning.
        listener: told of every change, in the thread.
    """

    def __init__(self, condition: Condition, listener: Listener) -> None:
        self.condition = condition
        self._listener = listener
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=f"supervision of {condition.name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it end; returns at once."""
        self._end.set()

    def stop(self) -> None:
        """Let it end, and wait for that."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def healthy(self) -> bool:
        """Whether it answered when it was last asked."""
        return self.condition.state == "healthy"

    @abstractmethod
    def _run(self) -> None:
        """Supervise until `_end` is set."""

    def _supervise(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                return self._run()
            except Exception as error:  # whatever it is: a thread that died would leave the old state on the screen
                failures = 0 if time.monotonic() - began > STABLE_SECONDS else failures
                self._fail(error)
            if self._end.is_set():
                return None
            self._end.wait(RETRIES[min(failures, len(RETRIES) - 1)])
            failures += 1

    def _fail(self, error: Exception) -> None:
        said = without_passwords(f"{type(error).__name__}: {error}").splitlines()[0]
        note = f"It could not be supervised ({said}) and is tried again."
        with suppress(Exception):  # the listener may be what fails
            self._tell("failing", process=None, restarts=self.condition.restarts + 1, note=note)

    def _tell(self, state: State, **changes: Any) -> None:
        self.condition = replace(self.condition, state=state, **changes)
        self._listener(self.condition)
