"""What follows from alarms: a run for some, a notice of all, each once, and again where the run was in vain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pandas as pd
import pytest

from components.config import Monitor
from components.errors import OrchestrationError
from components.monitoring.comparison import Baselines
from components.monitoring.judging import Look
from components.monitoring.memory import Episode, Memory
from components.monitoring.samples import Window
from components.notices import Notice
from flows import alarms
from flows.alarms import act
from flows.monitoring import Subject
from tests.bundles import registered, tiny_config, tiny_settings


class World:
    """Prefect and the receiver: what was asked for, what was told, and how the last run ended."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.told: list[Notice] = []
        self.trouble = ""
        self.state = ""

    def ask(self, subject: Subject, named: str) -> str:
        if self.trouble:
            raise OrchestrationError(self.trouble, "wait.")
        self.runs.append(named)
        return "A run was asked for; it begins now."

    def tell(self, settings: object, notice: Notice) -> bool:
        new = notice.event not in [each.event for each in self.told]
        self.told += [notice] * new
        return new


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(alarms, "ask_for_run", made.ask)
    monkeypatch.setattr("flows.notifying.send_once", made.tell)
    monkeypatch.setattr("flows.triggers.state_since", lambda *_: made.state)
    return made


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    config = tiny_config().model_copy(update={"monitor": Monitor(retrain_on=("accuracy",))})
    return Subject(config, tiny_settings(tmp_path), registered(config, 1))


def found() -> Look:
    window = Window(1, "", "", pd.DataFrame(), pd.DataFrame())
    return Look("support", 1, "retrain", "Changed: much.", window, Baselines(), (), None, 1, whole=True)


def alarmed(*names: str) -> Memory:
    return Memory(1, episodes={name: Episode("t1") for name in names})


def test_a_run_for_one_alarm_does_not_silence_another(world: World, subject: Subject):
    action, memory = act(subject, found(), alarmed("accuracy", "scripts"))
    assert world.runs == ["accuracy"]
    [notice] = world.told
    assert ("scripts since t1" in notice.event, "A run was asked for" in notice.why) == (True, True)
    assert action == "A run was asked for; it begins now. Somebody was told."
    assert (memory.untold(), memory.unasked(["accuracy"])) == ([], [])


def test_who_retrains_is_told_that_a_run_was_asked_for(world: World, subject: Subject):
    _, memory = act(subject, found(), alarmed("accuracy"))
    assert [notice.occasion for notice in world.told] == ["drifted"]
    assert act(subject, found(), memory)[0] == ""
    assert (len(world.told), len(world.runs)) == (1, 1)


def test_a_run_that_could_not_be_asked_for_is_tried_again_and_told_once(world: World, subject: Subject):
    world.trouble = "The runs are paused."
    action, memory = act(subject, found(), alarmed("accuracy", "scripts"))
    assert action.startswith("No run was asked for: The runs are paused.")
    world.trouble = ""
    action, memory = act(subject, found(), memory)
    assert (action, world.runs, len(world.told)) == ("A run was asked for; it begins now.", ["accuracy"], 1)


def test_a_run_that_found_nothing_to_learn_is_told_once_more_and_asked_for_again(world: World, subject: Subject):
    _, memory = act(subject, found(), alarmed("accuracy", "scripts"))
    for world.state, runs in (("Running", 1), ("Refused", 1), ("Unchanged", 2), ("Unchanged", 3)):
        _, memory = act(subject, found(), memory)
        assert len(world.runs) == runs
    assert len(world.told) == 2
    assert "because of accuracy found nothing new to learn from" in world.told[1].why
    assert "scripts" not in world.told[1].event


def test_an_alarm_that_is_over_is_not_opened_again(world: World, subject: Subject):
    _, memory = act(subject, found(), alarmed("accuracy"))
    world.state = "Unchanged"
    calm = replace(memory, episodes={"accuracy": replace(memory.episodes["accuracy"], calm=1)})
    assert act(subject, found(), calm) == ("", calm)


def test_a_server_in_trouble_is_a_reason_and_no_crash(subject: Subject, monkeypatch: pytest.MonkeyPatch):
    def away(*_: object, **__: object) -> None:
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr("flows.deployed.require_server", lambda *_: None)
    monkeypatch.setattr("prefect.client.orchestration.get_client", away)
    with pytest.raises(OrchestrationError, match="Prefect did not take the run: connection refused"):
        alarms.ask_for_run(subject, "accuracy")
    monkeypatch.setattr("flows.triggers.require_server", lambda *_: None)
    waiting = Memory(1, episodes={"accuracy": Episode("t1", told=True, asked="2026-11-01T00:00:00+00:00")})
    assert act(subject, found(), waiting) == ("", waiting)
