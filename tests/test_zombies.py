"""The automations that call a silent run crashed: whose runs they see, and that old ones are corrected."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from flows import zombies


class Automations:
    """The part of Prefect's client that keeps automations."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}

    def read_automations_by_name(self, name: str) -> list[Any]:
        return [each for each in self.kept.values() if each.name == name]

    def create_automation(self, wanted: Any) -> None:
        number = uuid4()
        dumped = wanted.model_dump
        self.kept[number] = SimpleNamespace(id=number, name=wanted.name, core=wanted, model_dump=dumped)

    def delete_automation(self, number: Any) -> None:
        del self.kept[number]


def test_automations_are_made_once_and_one_that_is_not_as_it_should_be_is_made_again():
    client = Automations()
    assert zombies.require_automations(client) == [zombies.SILENT, zombies.NOT_STARTED]
    assert zombies.require_automations(client) == []
    for kept in client.kept.values():
        kept.core.trigger.match_related = type(kept.core.trigger.match_related)({})  # as an earlier version made them
    assert zombies.require_automations(client) == [zombies.SILENT, zombies.NOT_STARTED]
    assert len(client.kept) == 2


@pytest.mark.parametrize(("flow", "ours"), [("retrain", True), ("monitor", True), ("their-etl", False)])
def test_a_run_of_another_team_is_left_alone(flow: str, ours: bool):
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import RelatedResource, Resource

    client = Automations()
    zombies.require_automations(client)
    run = Resource({"prefect.resource.id": f"prefect.flow-run.{uuid4()}"})
    resource = {"prefect.resource.id": f"prefect.flow.{uuid4()}", "prefect.resource.role": "flow"}
    related = [RelatedResource({**resource, "prefect.resource.name": flow})]
    for kept in client.kept.values():
        trigger = EventTrigger.model_validate(kept.core.trigger.model_dump(mode="json"))
        assert trigger.covers_resources(run, related) is ours


def test_every_flow_of_ours_is_named():
    sources = Path(zombies.__file__).parent.glob("*.py")
    found = [name for path in sources for name in re.findall(r'^@flow\(name="([^"]+)"', path.read_text(), re.MULTILINE)]
    assert sorted(found) == sorted(zombies.FLOWS)
