"""Programs that are kept at work: started again, asked for their health, and never left behind."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from components.supervision import keeping, leash, supervised
from components.supervision.keeping import Keeper, Watch
from components.supervision.programs import Condition, Program

# Starts a child in a session of its own, writes both numbers, and sleeps.
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(100)
"""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(keeping, "PAUSES", (0.0, 0.05, 0.1))
    monkeypatch.setattr(supervised, "RETRIES", (0.05,))


class Listener:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Condition] = []

    def __call__(self, condition: Condition) -> None:
        self.told.append(condition)

    @property
    def states(self) -> list[str]:
        return [condition.state for condition in self.told]


def program(folder: Path, code: str, healthy: Callable[[], bool] = lambda: True, **more: object) -> Program:
    command = (sys.executable, "-c", code)
    return Program("shop", command, dict(os.environ), healthy, folder / "log", stop_seconds=1.0, **more)


@pytest.fixture
def kept() -> Iterator[Callable[[Program], tuple[Keeper, Listener]]]:
    """Keeps a program until the test ends."""
    keepers = []

    def keep(wanted: Program) -> tuple[Keeper, Listener]:
        listener = Listener()
        keepers.append(Keeper(wanted, listener))
        keepers[-1].start()
        return keepers[-1], listener

    yield keep
    for keeper in keepers:
        keeper.stop()


def wait_for(happened: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def numbers(log: Path) -> list[int]:
    """The processes that the last start wrote down."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(word) for word in lines[-1].split()] if lines else []


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_program_that_is_killed_is_started_again_without_what_it_left(tmp_path: Path, kept):
    keeper, listener = kept(program(tmp_path, PARENT))
    wait_for(lambda: keeper.healthy and numbers(tmp_path / "log"))
    first, child = numbers(tmp_path / "log")
    assert keeper.condition.process == first
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: listener.states.count("healthy") == 2 and numbers(tmp_path / "log") != [first, child])
    assert gone(child)
    failing = next(condition for condition in listener.told if condition.state == "failing")
    assert (failing.note, failing.process, failing.restarts) == ("It was ended by SIGKILL.", None, 1)


def test_all_that_a_program_started_ends_when_it_is_stopped(tmp_path: Path, kept):
    keeper, listener = kept(program(tmp_path, PARENT))
    wait_for(lambda: numbers(tmp_path / "log"))
    keeper.stop()
    assert [gone(process) for process in numbers(tmp_path / "log")] == [True, True]
    assert listener.states[-1] == "stopped"


def test_a_program_that_will_not_end_is_made_to(tmp_path: Path, kept):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    keeper, _ = kept(program(tmp_path, deaf))
    wait_for(lambda: numbers(tmp_path / "log"))
    keeper.stop()
    assert [gone(process) for process in numbers(tmp_path / "log")] == [True, True]


def test_what_a_worker_started_goes_on_without_it_until_all_ends(tmp_path: Path, kept):
    keeper, listener = kept(program(tmp_path, PARENT, orphans=True))
    wait_for(lambda: numbers(tmp_path / "log"))
    first, child = numbers(tmp_path / "log")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: listener.states.count("starting") == 2)
    assert not gone(child)
    keeper.stop()
    assert gone(child)


def test_a_program_that_hangs_is_ended_and_started_again(tmp_path: Path, kept, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeping, "HANGING_SECONDS", 0.3)
    answers = iter([True, True, *[False] * 40])
    _, listener = kept(program(tmp_path, PARENT, healthy=lambda: next(answers, True)))
    wait_for(lambda: listener.states.count("healthy") == 2)
    assert "gave no answer" in next(each.note for each in listener.told if each.state == "failing")


def test_a_program_that_ends_by_itself_says_why(tmp_path: Path, kept):
    _, listener = kept(program(tmp_path, "import sys; sys.exit('no such database')", healthy=lambda: False))
    wait_for(lambda: listener.states.count("failing") == 3)
    assert listener.told[-1].restarts >= 3
    failing = [condition for condition in listener.told if condition.state == "failing"]
    assert {condition.note for condition in failing} == {"It ended with code 1: no such database"}


def test_a_machine_without_room_for_a_process_is_told_and_tried_again(tmp_path: Path, kept, monkeypatch):
    real, full = keeping.Leash, iter([True, True])

    def leashed(wanted: Program) -> keeping.Leash:
        if next(full, False):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(wanted)

    monkeypatch.setattr(keeping, "Leash", leashed)
    keeper, listener = kept(program(tmp_path, PARENT))
    wait_for(lambda: keeper.healthy)
    assert listener.states == ["failing", "failing", "starting", "healthy"]
    assert "Too many open files" in listener.told[0].note
    assert listener.told[-1].note == ""


def test_what_is_at_work_ends_when_its_supervision_fails(tmp_path: Path, kept):
    def asked() -> bool:
        if numbers(tmp_path / "log") and not failed:
            failed.extend(numbers(tmp_path / "log"))
            raise MemoryError
        return True

    failed: list[int] = []
    keeper, _ = kept(program(tmp_path, PARENT, healthy=asked))
    wait_for(lambda: keeper.condition.restarts == 1 and keeper.healthy)
    assert [gone(process) for process in failed] == [True, True]


def test_a_program_waits_for_what_it_needs(tmp_path: Path, kept):
    there: list[bool] = []
    _, listener = kept(program(tmp_path, PARENT, after=lambda: bool(there)))
    time.sleep(0.2)
    assert listener.states == []
    there.append(True)
    wait_for(lambda: "healthy" in listener.states)


def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from components.supervision.keeping import Keeper; from components.supervision.programs import Program\n"
        "wanted = Program('shop', (sys.executable, '-c', sys.argv[1]), {}, lambda: True, Path(sys.argv[2]))\n"
        "Keeper(wanted, lambda condition: None).start(); time.sleep(100)"
    )
    log = tmp_path / "log"
    supervisor = subprocess.Popen([sys.executable, "-c", code, PARENT, str(log)])
    wait_for(lambda: numbers(log))
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: all(gone(process) for process in numbers(log)))
    assert [gone(process) for process in numbers(log)] == [True, True]


def test_a_leash_that_is_killed_leaves_nothing_behind(tmp_path: Path, kept):
    _, listener = kept(program(tmp_path, PARENT))
    wait_for(lambda: numbers(tmp_path / "log"))
    first, _ = before = numbers(tmp_path / "log")
    psutil.Process(first).parent().kill()
    wait_for(lambda: listener.states.count("starting") == 2)
    assert [gone(process) for process in before] == [True, True]
    assert "lost" in next(each.note for each in listener.told if each.state == "failing")


def test_a_log_is_begun_anew_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leash, "LOG_BYTES", 1000)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)  # it is switched off, and so on again
    output = tmp_path / "output"
    output.write_bytes(b"".join(b"line %d, and \xff no text\n" % number for number in range(500)))
    with output.open("rb") as lines:
        leash._write_log(lines, str(tmp_path / "log"))
    kept_files = sorted(path.name for path in tmp_path.glob("log*"))
    assert kept_files == ["log", "log.1", "log.2"]
    assert (tmp_path / "log").read_text().splitlines()[-1] == "line 499, and \ufffd no text"
    assert sum((tmp_path / name).stat().st_size for name in kept_files) < 3500


def test_the_command_of_a_leash_shows_no_environment(tmp_path: Path, kept):
    secret = {**os.environ, "SHOP_PASSWORD": "open-sesame"}
    wanted = Program("shop", (sys.executable, "-c", PARENT), secret, lambda: True, tmp_path / "log")
    keeper, _ = kept(wanted)
    wait_for(lambda: keeper.condition.process)
    running = psutil.Process(keeper.condition.process)
    assert "open-sesame" not in json.dumps(running.cmdline() + running.parent().cmdline())


def test_a_server_of_somebody_else_is_only_watched():
    listener, answers = Listener(), iter([False, True, True, False])
    watch = Watch("mlflow", "http://mlflow:5000", lambda: next(answers, False), listener)
    watch.start()
    wait_for(lambda: len(listener.told) == 3)
    watch.stop()
    assert listener.states == ["failing", "healthy", "failing"]
