"""What starts a run by itself, and what keeps that from storming."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import Triggers
from components.data.arrivals import Calm, look_for
from components.errors import ConfigError, DataError
from components.run_files import read_run_file
from components.triggering import DAY, PastRun, wait_for
from flows import triggers
from tests.deliveries import rows, write_csv, write_run_file

NOW = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # the clocks of Europe go back
LIMITS = Triggers(cooldown_minutes=60, max_runs_a_day=2)


def ago(minutes: float, lasted: float | None = 1, triggered: bool = True) -> PastRun:
    began = NOW - timedelta(minutes=minutes)
    return PastRun(began, None if lasted is None else began + timedelta(minutes=lasted), triggered)


def test_the_first_run_begins_at_once():
    assert wait_for(LIMITS, [], NOW) is None


@pytest.mark.parametrize("triggered", [True, False])
def test_after_any_run_there_is_a_pause(triggered: bool):
    wait = wait_for(LIMITS, [ago(30, lasted=10, triggered=triggered)], NOW)
    assert wait.until == NOW + timedelta(minutes=40)
    assert wait.why == "triggers.cooldown_minutes is 60"
    assert wait_for(LIMITS, [ago(71, lasted=10, triggered=triggered)], NOW) is None


def test_a_run_that_is_at_work_counts_as_ending_now():
    assert wait_for(LIMITS, [ago(500, lasted=None)], NOW).until == NOW + timedelta(minutes=60)


def test_only_so_many_triggered_runs_a_day():
    past = [ago(120), ago(23 * 60), ago(25 * 60), ago(90, triggered=False)]
    wait = wait_for(LIMITS, past, NOW)
    assert wait.until == NOW + timedelta(hours=1)
    assert wait.why == "triggers.max_runs_a_day is 2"


@given(
    arrivals=st.lists(st.integers(0, 3 * 24 * 60), min_size=1, max_size=60),
    cooldown=st.integers(0, 300),
    most=st.integers(1, 8),
    minutes=st.integers(0, 90),
)
def test_no_storm_gets_through_and_no_trigger_is_lost(arrivals, cooldown, most, minutes):
    """Play days of triggers: what has to wait is one run that comes as soon as it may."""
    limits = Triggers(cooldown_minutes=cooldown, max_runs_a_day=most)
    began: list[datetime] = []
    waiting: datetime | None = None
    for arrival in sorted(NOW + timedelta(minutes=each) for each in arrivals):
        if waiting is not None and waiting <= arrival:
            began.append(waiting)
            waiting = None
        if waiting is None:
            past = [PastRun(each, each + timedelta(minutes=minutes), True) for each in began]
            wait = wait_for(limits, past, arrival)
            waiting = wait.until if wait else arrival
    began.append(waiting)
    for one, other in pairwise(began):
        assert other - one >= timedelta(minutes=cooldown + minutes)
    for start in began:
        assert sum(start <= each < start + DAY for each in began) <= most
    assert began[-1] >= NOW + timedelta(minutes=max(arrivals))


def test_files_count_by_size_and_time_and_not_while_they_are_written(tmp_path: Path):
    write_csv(tmp_path / "in" / "week-1.csv", rows(3, seed=1))
    for name in (".week-2.csv", "week-2.csv.part", "_week.csv", "week-3.csv~"):
        write_csv(tmp_path / "in" / name, rows(3, seed=2))
    (tmp_path / "in" / "week-4.csv").touch()
    before = look_for(["in/*"], tmp_path)
    assert [Path(path).name for path in before] == ["week-1.csv"]
    os.utime(tmp_path / "in" / "week-1.csv", (0, 0))
    assert look_for(["in/*"], tmp_path) != before


def test_a_done_file_says_when_a_folder_is_complete(tmp_path: Path):
    for day in ("1", "2"):
        write_csv(tmp_path / day / "a.csv", rows(3, seed=1))
    (tmp_path / "2" / "_SUCCESS").touch()
    assert [Path(path).parent.name for path in look_for(["*/*.csv"], tmp_path, "_SUCCESS")] == ["2"]


def test_an_object_store_is_looked_at_in_the_same_way():
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/reviews/week-1.csv", b"text,label\n")
    before = look_for(["memory://bucket/reviews/*.csv"], Path())
    assert len(before) == 1
    store.pipe("/bucket/reviews/week-1.csv", b"text,label\nmore,pos\n")
    assert look_for(["memory://bucket/reviews/*.csv"], Path()) != before
    store.rm("/bucket", recursive=True)
    assert look_for(["memory://bucket/reviews/*.csv"], Path()) == {}


@pytest.mark.parametrize("address", ["nosuch://bucket/*.csv", "s3://user:planted-secret@bucket/*.csv"])
def test_a_store_without_its_driver_is_a_sentence_without_secrets(address: str):
    with pytest.raises(DataError, match="cannot be looked at") as caught:
        look_for([address], Path())
    assert "planted-secret" not in str(caught.value)


def test_a_delivery_is_complete_when_nothing_has_changed_for_a_while():
    calm = Calm(settle_seconds=10)
    assert not calm.settled({}, 0)
    assert not calm.settled({"a": "1"}, 5)
    assert not calm.settled({"a": "2"}, 14)
    assert not calm.settled({"a": "2", "b": "1"}, 20)
    assert not calm.settled({"a": "2", "b": "1"}, 29)
    assert calm.settled({"a": "2", "b": "1"}, 30)
    assert not calm.settled({}, 60)


class Server:
    """The part of a Prefect client that triggers use: runs of one deployment, and keys that come again."""

    def __init__(self) -> None:
        self.runs: list[SimpleNamespace] = []
        self.keys: dict[str, SimpleNamespace] = {}

    def read_flow_runs(self, **_: object) -> list[SimpleNamespace]:
        return sorted(self.runs, key=lambda run: run.start_time or NOW - DAY * 999, reverse=True)

    def read_flow_run(self, run_id: object) -> SimpleNamespace:
        return next(run for run in self.runs if run.id == run_id)

    def create_flow_run_from_deployment(self, _id, *, parameters, state, tags, idempotency_key) -> SimpleNamespace:
        if idempotency_key not in self.keys:
            facts = {"state_type": "SCHEDULED", "state_name": "Scheduled", "idempotency_key": idempotency_key}
            self.keys[idempotency_key] = self.add(parameters, **facts)
        return self.keys[idempotency_key]

    def add(self, parameters: dict, start: datetime | None = None, end: datetime | None = None, **facts: object):
        usual = {"state_type": "COMPLETED", "state_name": "Promoted", "created": start or NOW, "idempotency_key": None}
        facts = usual | facts
        run = SimpleNamespace(id=uuid4(), name="run", parameters=parameters, start_time=start, end_time=end, **facts)
        self.runs.append(run)
        return run


def test_many_triggers_that_wait_are_one_run():
    server, deployment = Server(), SimpleNamespace(id=uuid4())
    for _ in range(5):
        triggers.ask_for_run(server, deployment, LIMITS, "an event")
    assert len(server.runs) == 1
    server.runs[0].start_time, server.runs[0].state_type = datetime.now(UTC), "RUNNING"
    wait = triggers.ask_for_run(server, deployment, LIMITS, "an event")
    assert len(server.runs) == 2
    assert wait.why.startswith("triggers.cooldown_minutes")


def test_a_run_that_a_person_cancelled_does_not_stand_in_for_the_next():
    server, deployment = Server(), SimpleNamespace(id=uuid4())
    triggers.ask_for_run(server, deployment, LIMITS, "new data")
    server.runs[0].state_type = "CANCELLED"
    triggers.ask_for_run(server, deployment, LIMITS, "new data")
    assert len(server.runs) == 2


def test_a_run_that_comes_too_early_itself_asks_for_another_one():
    """Prefect gives back the run of a key whatever became of it, also the one that asks."""
    server, deployment = Server(), SimpleNamespace(id=uuid4())
    server.add({}, datetime.now(UTC), state_type="RUNNING", state_name="Running")
    triggers.ask_for_run(server, deployment, LIMITS, "new data")
    waiting = server.runs[1]
    triggers.ask_for_run(server, deployment, LIMITS, "new data", own=str(waiting.id))
    assert len(server.runs) == 3
    waiting.state_type, waiting.state_name, waiting.start_time = "COMPLETED", "Deferred", datetime.now(UTC)
    triggers.ask_for_run(server, deployment, LIMITS, "more new data")
    assert len(server.runs) == 3  # the third waits
    server.runs[2].state_type = "CRASHED"
    triggers.ask_for_run(server, deployment, LIMITS, "more new data")
    assert len(server.runs) == 4


def test_two_new_models_wait_for_runs_of_their_own():
    server = Server()
    for deployment in (SimpleNamespace(id=uuid4()), SimpleNamespace(id=uuid4())):
        triggers.ask_for_run(server, deployment, LIMITS, "new data")
        server.runs, server.seen = [], server.runs
    assert len(server.keys) == 2


def test_runs_that_were_turned_away_do_not_count():
    server, deployment = Server(), SimpleNamespace(id=uuid4())
    for name in ("Deferred", "Served", "Withheld", "Superseded"):
        server.add({"cause": "an event"}, datetime.now(UTC), datetime.now(UTC), state_name=name)
    server.add({"cause": "an event"}, datetime.now(UTC), state_type="SCHEDULED", state_name="AwaitingTurn")
    assert triggers.ask_for_run(server, deployment, LIMITS, "an event") is None


def test_a_run_that_something_asked_for_does_not_begin_while_its_model_is_paused(tmp_path: Path, monkeypatch):
    class Client(Server):
        paused = True

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read_deployment(self, number: object) -> SimpleNamespace:
            return SimpleNamespace(id=number, name="reviews", paused=self.paused)

    server = Client()
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: server)
    config = read_run_file(write_run_file(tmp_path, tmp_path))
    asked = server.add({"cause": "an event"}, state_type="RUNNING", state_name="Running")
    name, why = triggers.admit(config, str(asked.id), str(uuid4()))
    assert name == "Withheld"
    assert "rebert schedule --resume reviews" in why
    server.paused = False
    assert triggers.admit(config, str(asked.id), str(uuid4())) is None


@pytest.mark.parametrize(
    "wrong",
    [{"cooldown_minutes": -1}, {"max_runs_a_day": 0}, {"settle_seconds": 0}, {"done_file": "a/b"}, {"watch": []}],
)
def test_a_wrong_trigger_is_named_with_its_line(tmp_path: Path, wrong: dict):
    with pytest.raises(ConfigError, match=rf"reviews\.yaml:\d+: triggers\.{next(iter(wrong))}"):
        read_run_file(write_run_file(tmp_path, tmp_path, triggers=wrong))
