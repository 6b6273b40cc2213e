"""What `rebert up` shows: one table on a screen, a line for each change elsewhere, or JSON, an object a line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from components.supervision.programs import Condition
from flows.console import err

COLOURS = {"healthy": "green", "failing": "bold red", "starting": "yellow", "waiting": "dim", "stopped": "dim"}
MINUTE, HOUR, DAY = 60, 3600, 86400


class View(Protocol):
    """Gets told of every change; from several threads."""

    def changed(self, condition: Condition) -> None:
        """A part is in another state."""

    def say(self, text: str) -> None:
        """A line for the person."""

    def refresh(self) -> None:
        """A second has gone by."""

    def close(self) -> None:
        """Nothing more will change."""


class JsonLines:
    """One JSON object a line on stdout: time, part, state, address, process, restarts, note, log."""

    def __init__(self) -> None:
        self._lock = Lock()

    def changed(self, condition: Condition) -> None:
        content = asdict(condition)
        self.write({"part": content.pop("name"), **content})

    def write(self, content: Mapping[str, object]) -> None:
        """One line."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            sys.stdout.write(json.dumps({"time": time, **content}, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        self.write({"part": "all", "note": text})

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line on stderr for each change: where there is no screen, as under a service manager."""

    def changed(self, condition: Condition) -> None:
        parts = (f"{condition.name}: {condition.state}", condition.address, condition.note)
        err.print(escape("  ".join(part for part in parts if part)))

    def say(self, text: str) -> None:
        err.print(escape(text))

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


class Screen:
    """A table of all parts that stays in its place, and what was said below it."""

    def __init__(self) -> None:
        self._conditions: dict[str, Condition] = {}
        self._since: dict[str, float] = {}
        self._said: list[str] = []
        self._lock = Lock()
        self._live = Live(console=err, auto_refresh=False, transient=False)
        self._live.start()

    def changed(self, condition: Condition) -> None:
        with self._lock:
            before = self._conditions.get(condition.name)
            if before is None or before.state != condition.state:
                self._since[condition.name] = time.monotonic()
            self._conditions[condition.name] = condition
        self.refresh()

    def say(self, text: str) -> None:
        with self._lock:
            if text not in self._said:
                self._said.append(text)
        self.refresh()

    def refresh(self) -> None:
        with self._lock:
            now = time.monotonic()
            rows = [(each, now - self._since[each.name]) for each in self._conditions.values()]
            self._live.update(Group(table_of(rows), *(escape(text) for text in self._said[-4:])), refresh=True)

    def close(self) -> None:
        self._live.stop()


def table_of(rows: Iterable[tuple[Condition, float]]) -> RenderableType:
    """The parts with the seconds since each is in its state."""
    table = Table(header_style="bold")
    for name in ("part", "state", "since", "address", "starts again", ""):
        table.add_column(name, overflow="fold")
    for each, seconds in rows:
        state = f"[{COLOURS[each.state]}]{each.state}[/]"
        note = each.note if each.state in ("healthy", "stopped") or not each.log else f"{each.note} {each.log}"
        again = str(each.restarts) if each.restarts else ""
        table.add_row(escape(each.name), state, in_words(seconds), escape(each.address), again, escape(note.strip()))
    return table


def in_words(seconds: float) -> str:
    """A duration as it is read at a glance."""
    for unit, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {word}"
    return f"{seconds:.0f} s"
