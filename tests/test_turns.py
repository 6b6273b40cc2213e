"""Runs that meet another run of the same model. What a real server makes of it is in `test_up.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Pause

from components.errors import BusyError, RegistryAway
from flows import turns

MINE = "6a5e0c1e-0d3b-4c0e-9d5b-0c1f6a1a7b11"
BUSY = BusyError("Another run of 'reviews' is at work (process 7 on trainer-2).", "wait for it to end.")


@dataclass
class Runtime:
    """What Prefect says of the run that is at work."""

    id: str | None
    scheduled_start_time: datetime = datetime(2026, 11, 16, 3, tzinfo=UTC)
    parameters: Any = None


@dataclass
class Run:
    """Another run of the deployment."""

    id: str
    parameters: Any
    name: str = "eager-otter"
    state_name: str = "Refused"


class Client:
    """Knows some runs that have ended since."""

    def __init__(self, *runs: Run) -> None:
        self.runs, self.asked = runs, None
        self.states: list[Any] = []
        self.waited: list[Any] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_flow_run_state(self, run_id: UUID, state: Any) -> None:
        assert run_id == UUID(MINE)
        self.states.append(state)

    def read_flow_run_states(self, run_id: UUID) -> list[Any]:
        assert run_id == UUID(MINE)
        return self.waited

    def read_flow_runs(self, flow_run_filter: Any) -> tuple[Run, ...]:
        self.asked = flow_run_filter
        return self.runs


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch):
    """Pretends to be a run of a deployment beside others; returns what the server is asked by."""

    def pretend(*others: Run) -> Client:
        client = Client(*others)
        monkeypatch.setattr(turns, "deployment", Runtime("d06f5d9a-5d5a-4ea8-bb26-4b2a3c8c5a11"))
        monkeypatch.setattr(turns, "flow_run", Runtime(MINE, parameters={"run_file": "reviews.yaml"}))
        monkeypatch.setattr(turns, "get_client", lambda **_: client)
        return client

    return pretend


def test_a_run_by_hand_is_told_who_is_at_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turns, "deployment", Runtime(None))
    with pytest.raises(BusyError, match="process 7 on trainer-2"):
        turns.wait(BUSY)
    assert turns.superseded() is None


def test_a_run_of_a_deployment_is_due_again_a_minute_later(deployed):
    client = deployed()
    with pytest.raises(Pause):
        turns.wait(BUSY)
    [state] = client.states
    assert (state.type, state.name) == (StateType.SCHEDULED, "AwaitingTurn")
    assert "trainer-2" in state.message
    wait = state.state_details.scheduled_time - datetime.now(UTC)
    assert timedelta(seconds=turns.WAIT_SECONDS - 5) < wait <= timedelta(seconds=turns.WAIT_SECONDS)


def test_a_run_waits_for_mlflow_but_not_for_ever(deployed, monkeypatch: pytest.MonkeyPatch):
    client = deployed()
    away = RegistryAway("MLflow does not answer.", "start it.")
    with pytest.raises(Pause):
        turns.wait(away)
    client.waited = [State(type=StateType.SCHEDULED, name="AwaitingMLflow")] * turns.TRIES
    with pytest.raises(RegistryAway):
        turns.wait(away)
    with pytest.raises(Pause):
        turns.wait(BUSY)
    assert [state.name for state in client.states] == ["AwaitingMLflow", "AwaitingTurn"]


def test_a_run_is_needless_when_another_one_began_since_it_was_due(deployed):
    other = Run("other", {"run_file": "reviews.yaml", "cause": "new data", "as_of": None})
    client = deployed(Run(MINE, {"run_file": "reviews.yaml"}), other)
    state = turns.superseded()
    assert (state.type, state.name) == (StateType.CANCELLED, "Superseded")
    assert "eager-otter" in state.message
    assert client.asked.start_time.after_ == datetime(2026, 11, 16, 3, tzinfo=UTC)
    assert set(client.asked.state.type.any_) == {StateType.COMPLETED, StateType.FAILED}  # a crashed one did nothing


@pytest.mark.parametrize(
    "others",
    [
        (),
        (Run(MINE, {"run_file": "reviews.yaml"}),),
        (Run("other", {"run_file": "reviews.yaml", "as_of": "2026-11-02"}),),
        (Run("other", {"run_file": "reviews.yaml"}, state_name="Deferred"),),
    ],
)
def test_a_run_is_not_needless_by_itself_or_by_one_of_other_data(deployed, others):
    deployed(*others)
    assert turns.superseded() is None
