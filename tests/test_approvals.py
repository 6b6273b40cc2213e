"""Approval by a person: what waits, for how long, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import registry
from components.errors import RegistryError
from components.notices import Notice
from components.records import PromotionDecision
from components.registry.approvals import Waiting


def decision(champion: int | None = None) -> PromotionDecision:
    return PromotionDecision(
        Path(), True, "Better.", "accuracy", 0.9, champion, None, None, None, "none", None, 0.0, 0.95, 100, ()
    )


@pytest.fixture
def shop(settings):
    """Versions 1 and 2 of 'shop', neither live."""
    client = registry.open_store(settings)
    client.create_registered_model("shop", {"rebert.task_type": "text_classification"})
    for version in (1, 2):
        client.create_model_version(
            "shop", (settings.artifacts / "x").as_uri(), tags={"rebert.model_digest": str(version) * 64}
        )
    return settings


def test_a_version_that_waits_goes_live_when_a_person_approves_it(shop):
    waiting = registry.ask_for_approval(shop, "shop", 1, decision(), days=7)
    assert registry.waiting_versions(shop, "shop") == [waiting]
    assert registry.champion(shop, "shop") is None
    event = registry.approve(shop, "shop", 1, decision(), reason="read twenty answers")
    assert registry.champion(shop, "shop").version == 1
    assert event.why.startswith("Approved by ")
    assert "read twenty answers Better." in event.why
    # What follows the move may fail; then the same command goes on.
    assert registry.approve(shop, "shop", 1, decision(), reason="again") == event
    registry.stop_waiting(shop, "shop", 1)
    assert registry.waiting_versions(shop, "shop") == []
    assert registry.examine_ledger(shop, "shop") == []


def test_asking_again_does_not_prolong_the_time(shop):
    first = registry.ask_for_approval(shop, "shop", 1, decision(), days=7)
    assert registry.ask_for_approval(shop, "shop", 1, decision(), days=30) == first


def test_what_was_not_approved_in_time_is_not_approved_and_can_be_asked_for_anew(shop):
    registry.ask_for_approval(shop, "shop", 1, decision(), days=-1)
    with pytest.raises(RegistryError, match="could be approved until") as caught:
        registry.approve(shop, "shop", 1, decision(), reason="late")
    assert caught.value.hint.startswith("run its run file again")
    assert registry.champion(shop, "shop") is None
    assert not registry.ask_for_approval(shop, "shop", 1, decision(), days=1).is_over


def test_what_was_not_approved_in_time_is_refused_in_the_ledger_and_told_once(shop, tmp_path, monkeypatch):
    from flows.approving import close_expired
    from tests.bundles import tiny_config

    told: list[Notice] = []
    monkeypatch.setattr("flows.notifying.send_once", lambda _, notice: told.append(notice))
    client = registry.open_store(shop)
    run_id = client.create_run(client.create_experiment("shop")).info.run_id
    digest = {"rebert.model_digest": "3" * 64}
    client.create_model_version("shop", (shop.artifacts / "x").as_uri(), run_id=run_id, tags=digest)
    registry.set_challenger(shop, "shop", 3)
    registry.ask_for_approval(shop, "shop", 3, decision(), days=-1)
    registry.ask_for_approval(shop, "shop", 2, decision(), days=1)
    for _ in range(2):
        close_expired(shop, tiny_config("shop"))
    [_, refused] = registry.read_moves(shop, "shop")
    assert (refused.action, refused.before, refused.after) == ("refuse", 3, None)
    assert refused.why.startswith("Not approved in time: it waited from ")
    assert [each.version for each in registry.waiting_versions(shop, "shop")] == [2]
    assert [(notice.occasion, notice.why) for notice in told] == [("refused", refused.why)]
    assert client.get_run(run_id).data.tags["decision"] == "refused"
    assert registry.examine_ledger(shop, "shop") == []


def test_what_waited_in_vain_is_refused_also_where_another_is_judged_by_now(shop):
    registry.set_challenger(shop, "shop", 1)
    registry.ask_for_approval(shop, "shop", 1, decision(), days=-1)
    registry.set_challenger(shop, "shop", 2)
    registry.expire(shop, "shop")
    assert registry.with_alias(shop, "shop", "challenger").version == 2
    assert registry.read_moves(shop, "shop")[-1].why.startswith("Not approved in time")
    assert registry.examine_ledger(shop, "shop") == []


def test_a_version_that_does_not_wait_is_named_with_those_that_do(shop):
    registry.ask_for_approval(shop, "shop", 2, decision(), days=1)
    with pytest.raises(RegistryError, match="Version 1 of 'shop' does not wait") as caught:
        registry.approve(shop, "shop", 1, decision(), reason="x")
    assert caught.value.hint.startswith("approve one that does: version 2 until ")
    with pytest.raises(RegistryError, match="'shop' has no version 9"):
        registry.require_waiting(shop, "shop", 9)


def test_what_was_judged_against_another_champion_is_not_approved(shop):
    for version in (1, 2):
        registry.ask_for_approval(shop, "shop", version, decision(), days=1)
    registry.approve(shop, "shop", 1, decision(), reason="good")
    with pytest.raises(RegistryError, match="The champion of 'shop' changed to version 1"):
        registry.approve(shop, "shop", 2, decision(), reason="good as well")
    assert registry.champion(shop, "shop").version == 1


def test_the_time_is_over_when_it_is_over():
    assert Waiting(1, "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", "x").is_over
