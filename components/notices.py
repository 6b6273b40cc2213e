"""Notices: what is said about a run, and the outbox that sees to it that one event is told once.

`<home>/notices/MODEL/` holds one file for each event that was told, `state.json` (since when the model is failing)
and, while a run is at work, `begun.json`. A file is made before anything is sent: a process that dies while it sends
has told or not, and nobody tells again. What a receiver refused waits there for the next try.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any, Literal

from components.config import Occasion
from components.digests import canonical, digest_of
from components.records import as_json
from components.settings import without_passwords
from components.signs_of_life import is_dead, sign_of_life
from components.step_store import storage_errors, write_whole

log = logging.getLogger("rebert.notices")

State = Literal["sending", "sent", "waiting"]
KEPT = timedelta(days=90)  # how long an event is remembered after it was told
STALE = timedelta(days=7)  # what could not be sent for so long is no news any more
TITLES: Mapping[Occasion, str] = {
    "failed": "the run failed",
    "crashed": "the run crashed",
    "rejected": "the data was rejected",
    "refused": "the new version was refused",
    "waiting": "the new version waits for approval",
    "recovered": "the run works again",
    "drifted": "the monitor has an alarm",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to say. `event` tells it from every other event of the model; `look` is a command to look further.

    `to` is `notify.to` of the run file: it names an address, and holds none.
    """

    model: str
    occasion: Occasion
    to: str | None
    why: str
    look: str
    event: str
    time: str = ""

    @property
    def subject(self) -> str:
        return f"{self.model}: {TITLES[self.occasion]}"

    @property
    def body(self) -> str:
        return f"{without_passwords(self.why)}\nLook further: {self.look}\n{gethostname()}, {self.time[:16]} UTC"

    @property
    def key(self) -> str:
        return f"{self.occasion}-{digest_of([self.model, self.occasion, self.event])[:16]}"


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is at work: a sign of life of its process, and who is told when that dies."""

    run: str
    run_file: str
    sign: str
    to: str | None
    of: tuple[Occasion, ...]


@dataclass(frozen=True, slots=True)
class Outbox:
    """The notices of one model."""

    folder: Path
    model: str

    def claim(self, notice: Notice) -> Notice | None:
        """The notice with its time, to be sent now; None when this event was told before."""
        stamped = replace(notice, time=_now().isoformat())
        with self._locked():
            if (self.folder / f"{notice.key}.json").exists():
                return None
            self._write(stamped, "sending")
        return stamped

    def settle(self, notice: Notice, sent: bool) -> None:
        """Remember whether a notice that was claimed has reached somebody."""
        with self._locked():
            self._write(notice, "sent" if sent else "waiting")

    def waiting(self) -> list[Notice]:
        """What could not be sent so far, claimed again; old notices go."""
        found: list[Notice] = []
        with self._locked():
            for path in sorted(self.folder.glob("*-*.json")):
                if (kept := _read_notice(path)) is None:
                    continue
                state, notice = kept
                age = _now() - datetime.fromisoformat(notice.time)
                if age > KEPT:
                    path.unlink()
                elif state == "waiting" and age < STALE:
                    self._write(notice, "sending")
                    found.append(notice)
        return found

    def begin(self, begun: Begun) -> Begun | None:
        """Note that a run is at work; returns the one that was before it and never ended."""
        with self._locked():
            died = self._read_begun()
            write_whole(self.folder / "begun.json", canonical(as_json(begun)))
        return died

    def go_on(self) -> None:
        """Give a new sign of life of the run that is at work, for those on other machines who share the folder."""
        with self._locked():
            begun = self._read_begun()
            if begun is not None:
                renewed = replace(begun, sign=sign_of_life())
                write_whole(self.folder / "begun.json", canonical(as_json(renewed)))

    def died(self) -> Begun | None:
        """The run that was at work until its process died; asked again it is there no more."""
        with self._locked():
            begun = self._read_begun()
            if begun is None or not is_dead(begun.sign):
                return None
            (self.folder / "begun.json").unlink()
        return begun

    def end(self) -> None:
        """Note that the run has ended in good order, well or not."""
        with self._locked():
            (self.folder / "begun.json").unlink(missing_ok=True)

    def failing_since(self) -> str | None:
        """When the first of the failures came that no success followed; None while all is well."""
        found: str | None = self._state()["since"]
        return found

    def failures(self) -> int:
        """How many times the model began to fail: the number of this episode."""
        return int(self._state()["episode"])

    def fails(self) -> None:
        """The run failed: the first time begins an episode."""
        state = self._state()
        if state["since"] is None:
            self._write_state({"since": _now().isoformat(), "episode": state["episode"] + 1})

    def works(self) -> None:
        """The run worked: an episode is over."""
        state = self._state()
        if state["since"] is not None:
            self._write_state({**state, "since": None})

    def _read_begun(self) -> Begun | None:
        content = _read(self.folder / "begun.json")
        try:
            return Begun(**{**content, "of": tuple(content["of"])}) if content else None
        except (TypeError, KeyError):  # another version wrote it, or somebody
            return None

    def _state(self) -> dict[str, Any]:
        found = _read(self.folder / "state.json") or {}
        return found if found.keys() >= {"since", "episode"} else {"since": None, "episode": 0}

    def _write_state(self, state: Mapping[str, Any]) -> None:
        with storage_errors(self.folder):
            write_whole(self.folder / "state.json", canonical(state))

    def _write(self, notice: Notice, state: State) -> None:
        write_whole(self.folder / f"{notice.key}.json", canonical({"state": state, "notice": as_json(notice)}))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield


def begun_now(run: str, run_file: str, to: str | None, of: tuple[Occasion, ...]) -> Begun:
    """A run that this process begins."""
    return Begun(run, run_file, sign_of_life(), to, of)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_notice(path: Path) -> tuple[str, Notice] | None:
    """How far a notice has come, and the notice; None, and a line in the log, where its file is damaged."""
    content = _read(path) or {}
    try:
        notice = Notice(**content["notice"])
        datetime.fromisoformat(notice.time)
        return str(content["state"]), notice
    except (KeyError, TypeError, ValueError):
        log.warning("%s is damaged, and the notice in it is not sent; delete the file.", path)
        return None


def _now() -> datetime:
    return datetime.now(UTC)
