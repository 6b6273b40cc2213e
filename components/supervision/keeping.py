"""One program for as long as it is wanted: started, asked for its health, started again after a growing pause."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

from components.supervision.programs import Condition, Listener, Program, State
from components.supervision.supervised import STABLE_SECONDS, Supervised

LEASH = (sys.executable, "-m", "components.supervision.leash")
MARK = "REBERT_LEASH"  # a variable: whose program a process belongs to
ASK_SECONDS = 1.0  # between two questions for its health
HANGING_SECONDS = 30.0  # without a good answer before it is ended and started again
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds before the first, second, ... start in a row


class Leash:
    """A running program on its leash; see `components/supervision/leash.py`."""

    def __init__(self, program: Program) -> None:
        self.process: int | None = None
        self.code: int | None = None
        self.ended = threading.Event()
        self._stop_seconds = program.stop_seconds
        self._mark = uuid4().hex
        program.log.parent.mkdir(parents=True, exist_ok=True)
        options = {"log": str(program.log), "grace": program.stop_seconds, "orphans": program.orphans}
        self.leash = subprocess.Popen(
            [*LEASH, json.dumps(options), *program.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**program.environment, MARK: self._mark},
            start_new_session=True,  # Ctrl-C reaches us; we end the program
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        if self.leash.stdout:
            with self.leash.stdout as lines:
                for line in lines:
                    said: Mapping[str, int] = json.loads(line)
                    self.process = said.get("pid", self.process)
                    if "ended" in said:
                        self.code = said["ended"]
                        self.ended.set()
        self.ended.set()

    @property
    def running(self) -> bool:
        """Whether anything is left of it, the program itself or what it started."""
        return self.leash.poll() is None

    def let_go(self) -> None:
        """Have all of it end; returns at once."""
        if self.leash.stdin and not self.leash.stdin.closed:
            self.leash.stdin.close()

    def stop(self) -> None:
        """Have all of it end, and wait until it has."""
        self.let_go()
        try:
            self.leash.wait(self._stop_seconds + HANGING_SECONDS)
        except subprocess.TimeoutExpired:
            self.leash.kill()
            self.leash.wait()
        _end_marked(self._mark)


class Keeper(Supervised):
    """Keeps a program at work in a thread, and tells a listener of every change.

    Args:
        program: what to keep.
        listener: told in the keeper's thread.
    """

    def __init__(self, program: Program, listener: Listener) -> None:
        super().__init__(Condition(program.name, "waiting", program.address, log=str(program.log)), listener)
        self.program = program
        self.answered = False  # ever
        self._failures = 0
        self._left: list[Leash] = []  # programs that died while what they had started goes on

    def _run(self) -> None:
        while not self._end.wait(PAUSES[min(self._failures, len(PAUSES) - 1)]):
            if not self._needs_met():
                continue
            self._serve_once()
        for leash in self._left:
            leash.let_go()
        for leash in self._left:
            leash.stop()
        self._tell("stopped", process=None, note="")

    def _needs_met(self) -> bool:
        while not self.program.after():
            if self.condition.state != "waiting":
                self._tell("waiting", process=None)
            if self._end.wait(ASK_SECONDS):
                return False
        return True

    def _serve_once(self) -> None:
        """Start the program and wait until it has died, hangs, or shall end."""
        for over in [leash for leash in self._left if not leash.running]:
            over.stop()
            self._left.remove(over)
        leash = Leash(self.program)
        began = time.monotonic()
        try:
            self._tell("starting", process=leash.process)
            why = self._watch(leash)
        except BaseException:
            leash.stop()
            raise
        if leash.running and self.program.orphans and leash.ended.is_set():
            self._left.append(leash)
        else:
            leash.stop()
        if self._end.is_set():
            return
        self._failures = 1 if time.monotonic() - began > STABLE_SECONDS else self._failures + 1
        self._tell("failing", process=None, restarts=self.condition.restarts + 1, note=why)

    def _watch(self, leash: Leash) -> str:
        """Why the program is to be started again, in one sentence."""
        answered, patience, ever = time.monotonic(), self.program.ready_seconds, False
        while not leash.ended.wait(ASK_SECONDS) and not self._end.is_set():
            if leash.process and self.program.healthy():
                answered, patience, ever = time.monotonic(), HANGING_SECONDS, True
                self.answered = True
                if not self.healthy:
                    self._tell("healthy", process=leash.process, note="")
            elif time.monotonic() - answered > patience:
                return f"It gave no answer for {patience:.0f} s{'' if ever else ' after its start'} and was ended."
        return _end_in_words(leash.code, self.program.log)


class Watch(Supervised):
    """Tells how a server is that somebody else keeps at work; the same outside as a `Keeper`.

    Args:
        name: what people call it.
        address: where it is, without a password.
        healthy: as a program's.
        listener: told in the watch's thread.
    """

    def __init__(self, name: str, address: str, healthy: Callable[[], bool], listener: Listener) -> None:
        super().__init__(Condition(name, "starting", address), listener)
        self._healthy = healthy

    def _run(self) -> None:
        while not self._end.is_set():
            found = self._healthy()
            state: State = "healthy" if found else "failing"
            if state != self.condition.state:
                self._tell(state, note="" if found else "It does not answer.")
            self._end.wait(ASK_SECONDS)


def answers(host: str, port: int, path: str) -> bool:
    """Whether a server answers a question for its health well, within two seconds."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_in_words(code: int | None, log: Path) -> str:
    if code is None:
        return "It was lost: its leash was killed."
    if code < 0:
        return f"It was ended by {signal.Signals(-code).name}."
    return f"It ended with code {code}: {last_words(log)}"


def _end_marked(mark: str) -> None:
    """Kill what a leash left behind that was killed itself; all that it started has its mark in the environment."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                process.kill()


def last_words(log: Path) -> str:
    """The last line that a program wrote; of a traceback that is what went wrong."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote nothing"
    said = [line.strip() for line in lines[-50:] if line.strip()]
    return said[-1][:300] if said else "it wrote nothing"
