"""One run of a model at a time, across machines that share an MLflow."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname

import pytest

from components.errors import BusyError
from components.registry import lease as leases
from components.registry.lease import lease
from components.registry.single_flight import single_flight
from components.registry.store import open_store
from components.settings import Settings
from components.signs_of_life import sign_of_life, who


def sign(host: str = "another", process: int = 7, age: float = 0.0) -> str:
    """A sign of life that is so many seconds old."""
    return f"{host} {process} 1.00 {(datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec='seconds')}"


def take_turn(settings: Settings, holder: str) -> str:
    """Have somebody else take the next turn at 'shop'; returns the run of the turns."""
    client = open_store(settings)
    turn = leases._latest(client, leases._lock_run(client, "shop"))
    client.log_param(turn.run_id, f"turn.{turn.number + 1}", f"{holder} abc")
    return turn.run_id


def is_held(settings: Settings) -> bool:
    """Whether somebody else would have to wait now."""
    try:
        with lease(settings, "shop"):
            return False
    except BusyError:
        return True


def test_a_second_run_is_told_who_is_at_work(settings: Settings):
    with lease(settings, "shop"):
        with (
            pytest.raises(BusyError, match=r"Another run of 'shop' is at work \(process \d+\)"),
            lease(settings, "shop"),
        ):
            pass
        with lease(settings, "other"):
            pass
    with lease(settings, "shop"):  # it was given back
        pass


def test_of_many_that_come_at_once_one_gets_it(settings: Settings):
    with lease(settings, "shop"):
        pass  # the run of the turns is there
    got, busy, start = [], [], threading.Barrier(6)

    def come() -> None:
        start.wait()
        try:
            got.append(leases._take(settings, "shop"))
        except BusyError as error:
            busy.append(error)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(busy)) == (1, 5)


def test_the_turn_of_a_dead_process_of_this_machine_is_free_at_once(settings: Settings):
    child = "import os; print(os.getpid())"
    dead = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
    take_turn(settings, sign(gethostname(), int(dead)))
    began = time.monotonic()
    with lease(settings, "shop"):
        assert time.monotonic() - began < leases.WATCH_SECONDS / 5


def test_a_turn_of_another_machine_holds_while_its_heart_beats(settings: Settings):
    take_turn(settings, sign(age=leases.SILENT_SECONDS / 2))
    with pytest.raises(BusyError, match="process 7 on another"), lease(settings, "shop"):
        pass


def test_a_silent_turn_of_another_machine_is_taken(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "WATCH_SECONDS", 0.2)
    take_turn(settings, sign(age=leases.SILENT_SECONDS + 5))
    with lease(settings, "shop"):
        assert is_held(settings)


def test_a_machine_whose_clock_is_behind_keeps_its_turn(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "WATCH_SECONDS", 5.0)
    run_id = take_turn(settings, sign(age=3600))
    beat = threading.Timer(0.5, open_store(settings).set_tag, (run_id, "alive", f"1 {sign(age=3599)}"))
    beat.start()
    with pytest.raises(BusyError), lease(settings, "shop"):
        pass
    beat.join()


def test_a_dead_machine_whose_clock_was_ahead_does_not_hold_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    take_turn(settings, sign(age=-3600))
    monkeypatch.setattr(leases, "SILENT_SECONDS", 0.2)
    with lease(settings, "shop"):
        assert is_held(settings)


def test_a_holder_gives_signs_of_life(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    client = open_store(settings)
    with lease(settings, "shop"):
        run_id = leases._lock_run(client, "shop")
        deadline = time.monotonic() + 10
        while "alive" not in client.get_run(run_id).data.tags:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        alive = client.get_run(run_id).data.tags["alive"]
    assert alive.startswith("1 ")
    assert alive.removeprefix("1 ").rsplit(" ", 1)[0] == sign_of_life().rsplit(" ", 1)[0]


def test_a_sign_of_an_earlier_turn_says_nothing_of_this_one(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "WATCH_SECONDS", 0.2)
    run_id = take_turn(settings, sign(age=3600))
    open_store(settings).set_tag(run_id, "alive", f"0 {sign()}")
    with lease(settings, "shop"):
        assert is_held(settings)


def test_runs_of_two_folders_that_share_a_server_exclude_each_other(settings: Settings, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Settings, "embedded_tracking", property(lambda _: False))
    here, there = settings, replace(settings, home=tmp_path / "there")
    with single_flight(here, "shop"), pytest.raises(BusyError), single_flight(there, "shop"):
        pass
    with single_flight(there, "shop"):
        pass


def test_an_embedded_mlflow_is_asked_for_no_turn(settings: Settings):
    with single_flight(settings, "shop"):
        assert open_store(settings).get_experiment_by_name(leases.EXPERIMENT) is None


def test_who_gave_a_sign_in_words():
    assert who(sign("trainer-2", 31)) == "process 31 on trainer-2"
    assert who(sign(gethostname(), 31)) == "process 31"
