"""The sealed ledger: what was live on a date, and tampering that is detected and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import registry, tracking
from components.digests import digest_of
from components.errors import ConfigError, RegistryError
from components.records import GateRule, PromotionDecision
from components.registry import ledger
from components.registry.ledger import LedgerEvent, new_event, seal_of
from components.registry.ledger_numbers import numbers_of
from components.registry.seals import problems_of
from flows.history import moment, numbers_in_words, show_history


def chain(moves: int = 4) -> list[LedgerEvent]:
    """Versions 1, 2, 3 … promoted one after the other, closed and sealed as `close_event` does it."""
    events: list[LedgerEvent] = []
    for version in range(1, moves + 1):
        numbers = {"metric": "accuracy", "candidate_score": 0.8 + version / 100, "rows": 500}
        event = new_event(
            events, "promote", before=version - 1 or None, after=version, why="better", run_id="r", numbers=numbers
        )
        event = replace(event, state="done", time=f"2026-11-{version:02d}T12:00:00+00:00")
        events.append(replace(event, seal=seal_of(event)))
    return events


def anchors(events: list[LedgerEvent]) -> dict:
    return {event.after: {"number": event.number, "seal": event.seal} for event in events}


def found(events: list[LedgerEvent], original: list[LedgerEvent], champion: int | None = 4) -> str:
    aliases = {"champion": champion, "previous": ledger.aliases_at(events)["previous"]}
    return " ".join(problems_of(events, anchors(original), {name: each for name, each in aliases.items() if each}))


def test_a_whole_ledger_has_no_problems():
    events = chain()
    assert found(events, events) == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [("who", "nobody"), ("why", "worse"), ("after", 9), ("time", "2025"), ("numbers", {}), ("state", "abandoned")],
)
def test_a_changed_entry_is_named_whatever_was_changed(field, value):
    events = chain()
    spoiled = [*events[:1], replace(events[1], **{field: value}), *events[2:]]
    assert "Entry 2 was changed after it was written." in found(spoiled, events)


def test_an_entry_that_was_changed_and_sealed_again_breaks_the_next():
    events = chain()
    forged = replace(events[1], why="forged")
    forged = replace(forged, seal=seal_of(forged))
    words = found([events[0], forged, *events[2:]], events)
    assert "Entry 3 does not follow from entry 2" in words
    assert "Entry 2, the newest about version 2, is gone or was replaced." in words


def test_removed_entries_are_missed_wherever_they_stood():
    events = chain()
    assert "begins with entry 2" in found(events[1:], events)
    assert "Between entry 1 and entry 3" in found([events[0], *events[2:]], events)
    assert "Entry 4, the newest about version 4, is gone" in found(events[:3], events)


def test_a_seal_cannot_just_be_left_out():
    events = chain()
    assert "Entry 2 has lost its seal." in found([events[0], replace(events[1], seal=""), *events[2:]], events)


def test_a_champion_that_was_moved_by_hand_is_told():
    events = chain()
    assert "entry 4 moved it to version 4: somebody has moved it by hand" in found(events, events, champion=2)


def test_entries_from_before_there_were_seals_are_believed_and_covered_by_the_next():
    old = [
        LedgerEvent(f"2026-10-0{n}T12:00:00+00:00", "promote", n - 1 or None, n, "x", "me", n, state="done")
        for n in (1, 2)
    ]
    event = replace(new_event(old, "promote", before=2, after=3, why="better", run_id=""), state="done")
    events = [*old, replace(event, seal=seal_of(event))]
    assert found(events, events[2:], champion=3) == ""
    assert "Entry 3 does not follow from entry 2" in found(
        [old[0], replace(old[1], who="you"), events[2]], [], champion=3
    )


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-11-21", "2026-11-21T23:59"),
        ("2026-11-21T15:00", "2026-11-21T15:00"),
        ("2026-11-21T15:00+08:00", "2026-11-21T07:00"),
    ],
)
def test_a_date_means_its_end_and_a_time_without_a_zone_is_utc(text, hour):
    assert moment(text).astimezone(UTC).isoformat().startswith(hour)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "21.11.2026"])
def test_another_word_is_no_date(text):
    with pytest.raises(ConfigError, match="is neither a date nor a time"):
        moment(text)


def test_numbers_say_what_was_compared():
    numbers = {"metric": "f1", "candidate_score": 0.9, "champion_score": 0.8, "p_value": 0.0012, "rows": 3080}
    assert numbers_in_words(numbers) == "f1 0.9000 against 0.8000, p = 0.0012, 3,080 rows"
    assert numbers_in_words({}) == ""


@pytest.fixture
def shop(settings):
    """Two moves of 'shop', through MLflow."""
    client = registry.open_store(settings)
    client.create_registered_model("shop", {"rebert.task_type": "text_classification"})
    for version in (1, 2):
        client.create_model_version(
            "shop", (settings.artifacts / "x").as_uri(), tags={"rebert.model_digest": str(version) * 64}
        )
    for version in (1, 2):
        events = ledger.events_of(client, "shop")
        before = version - 1 or None
        event = new_event(events, "promote", before=before, after=version, why=f"reason {version}", run_id="")
        client.set_registered_model_alias("shop", "champion", str(version))
        ledger.write_event(client, "shop", event)
        registry.settle(settings, "shop")
    return settings


def spoil(settings, change: Callable[[dict], None]) -> None:
    client = registry.open_store(settings)
    event = asdict(ledger.events_of(client, "shop")[0])
    change(event)
    client.set_registered_model_tag("shop", "rebert.ledger.0001", json.dumps(event))


def test_history_tells_what_was_live_and_that_the_ledger_is_whole(shop, capsys):
    show_history("shop", shop, None, False)
    told = capsys.readouterr()
    assert "reason 1" in told.out
    assert "none → 1" in told.out
    assert "The ledger is whole: 2 moves" in told.err
    show_history("shop", shop, datetime.now(UTC).isoformat(), False)
    assert "version 2 of 'shop' was live" in capsys.readouterr().out
    show_history("shop", shop, "2020-01-01", False)
    assert "no version of 'shop' was live" in capsys.readouterr().out


def test_history_tells_of_tampering_after_what_the_ledger_says(shop, capsys):
    spoil(shop, lambda event: event.update(why="another story"))
    with pytest.raises(RegistryError, match="Entry 1 was changed after it was written"):
        show_history("shop", shop, None, True)
    content = json.loads(capsys.readouterr().out)
    assert content["whole"] is False
    assert content["ledger"][0]["why"] == "another story"


def test_an_entry_that_is_no_entry_any_more_is_an_error_with_a_way_out(shop):
    registry.open_store(shop).set_registered_model_tag("shop", "rebert.ledger.0002", "gone")
    with pytest.raises(RegistryError, match="Entry 0002 of the ledger of 'shop' cannot be read"):
        show_history("shop", shop, None, False)


def test_a_model_that_was_never_live_has_no_history(settings):
    with pytest.raises(RegistryError, match="No version of 'shop' was ever live"):
        show_history("shop", settings, None, False)


def test_the_best_ever_accepted_is_the_highest_score_that_was_not_taken_back(settings):
    client = registry.open_store(settings)
    client.create_registered_model("shop", {"rebert.task_type": "text_classification"})
    for version in (1, 2, 3):
        tags = {"rebert.model_digest": str(version) * 64}
        client.create_model_version("shop", (settings.artifacts / "x").as_uri(), tags=tags)
    assert registry.best_accepted(settings, "shop", "accuracy") is None
    live = None
    for version, score in ((1, 0.9), (2, 0.95), (3, 0.85)):
        decided = PromotionDecision(
            Path(), True, "x", "accuracy", score, live, None, None, None, "t", None, 0.0, 0.95, 100, ()
        )
        registry.promote(settings, "shop", version, decided)
        live = version
        if version == 2:
            assert registry.best_accepted(settings, "shop", "accuracy") is None  # it is live
    assert registry.best_accepted(settings, "shop", "accuracy").version == 2
    assert registry.best_accepted(settings, "shop", "macro_f1") is None
    registry.rollback(settings, "shop", 2, reason="3 is bad")
    registry.rollback(settings, "shop", 1, reason="2 is bad as well")
    assert registry.best_accepted(settings, "shop", "accuracy") is None
    assert registry.examine_ledger(settings, "shop") == []


def test_decisions_on_the_same_frozen_rows_are_counted_once_a_candidate(settings):
    client = registry.open_store(settings)
    experiment = client.create_experiment("shop")
    runs = [client.create_run(experiment).info.run_id for _ in range(3)]
    decided = PromotionDecision(
        Path("nowhere"), False, "x", "accuracy", 0.9, 1, 0.9, 0.0, None, "t", 1.0, 0.0, 0.95, 100, (), test_rows="rows"
    )
    for run_id, rows in zip(runs, ("rows", "rows", "others"), strict=True):
        tracking.log_decision(settings, run_id, replace(decided, test_rows=rows))
        tracking.log_decision(settings, run_id, replace(decided, test_rows=rows))  # found again, not decided again
    assert tracking.earlier_decisions(settings, "shop", "rows", "another run") == 2
    assert tracking.earlier_decisions(settings, "shop", "rows", runs[0]) == 1
    assert tracking.earlier_decisions(settings, "shop", "new rows", runs[0]) == 0
    assert tracking.earlier_decisions(settings, "nothing", "rows", runs[0]) == 0


@pytest.fixture
def judged(shop):
    """'shop' with a third version that was judged, refused, judged again and promoted; and the moments in between."""
    client = registry.open_store(shop)
    client.create_model_version("shop", (shop.artifacts / "x").as_uri(), tags={"rebert.model_digest": "3" * 64})
    rules = (GateRule("superiority", False, "no better: p = 0.3"),)
    gate = {"mode": "superiority", "margin": 0.0, "floor": 0.4}
    refused = PromotionDecision(
        Path(),
        False,
        "not better",
        "accuracy",
        0.9,
        2,
        0.9,
        0.0,
        None,
        "McNemar",
        0.3,
        0.0,
        0.95,
        100,
        rules,
        gate=gate,
    )
    registry.set_challenger(shop, "shop", 3)
    registry.set_challenger(shop, "shop", 3)  # a task that is tried again
    registry.retire_challenger(shop, "shop", 3, refused)
    registry.set_challenger(shop, "shop", 3)
    registry.promote(shop, "shop", 3, replace(refused, promote=True, reason="better", rules=()))
    return shop


def test_every_alias_is_in_the_ledger_with_the_rule_set_that_decided(judged):
    moves = registry.read_moves(judged, "shop")
    assert [(e.action, e.alias, e.before, e.after) for e in moves] == [
        ("promote", "champion", None, 1),
        ("promote", "champion", 1, 2),
        ("challenge", "challenger", None, 3),
        ("refuse", "challenger", 3, None),
        ("challenge", "challenger", None, 3),
        ("promote", "champion", 2, 3),
    ]
    assert moves[3].why == "not better"
    assert moves[3].numbers["rules"] == {"superiority": "refused: no better: p = 0.3"}
    assert moves[3].numbers["gate"] == moves[5].numbers["gate"] == {"mode": "superiority", "margin": 0.0, "floor": 0.4}
    assert registry.examine_ledger(judged, "shop") == []
    assert [each.after for each in registry.read_ledger(judged, "shop")] == [1, 2, 3]


def test_each_alias_is_told_for_any_moment(judged, capsys):
    moves = registry.read_moves(judged, "shop")
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    spread = [replace(each, time=(begin + timedelta(days=n)).isoformat()) for n, each in enumerate(moves)]
    told = [registry.aliases_at(spread, begin + timedelta(days=day, hours=1)) for day in range(-1, 6)]
    assert [tuple(each.values()) for each in told] == [  # champion, challenger, previous
        (None, None, None), (1, None, None), (2, None, 1), (2, 3, 1), (2, None, 1), (2, 3, 1), (3, None, 2),
    ]  # fmt: skip
    aliases = {each: registry.with_alias(judged, "shop", each) for each in ("champion", "challenger", "previous")}
    assert registry.aliases_at(moves) == {name: each and each.version for name, each in aliases.items()}
    show_history("shop", judged, datetime.now(UTC).isoformat(), False)
    assert "champion: version 3 since" in (out := capsys.readouterr().out)
    assert "challenger: none; previous: version 2" in out
    show_history("shop", judged, datetime.now(UTC).isoformat(), True)
    assert json.loads(capsys.readouterr().out)["aliases"] == {"champion": 3, "challenger": None, "previous": 2}


def test_a_challenger_that_was_moved_by_hand_is_told(judged):
    registry.open_store(judged).set_registered_model_alias("shop", "challenger", "1")
    (problem,) = registry.examine_ledger(judged, "shop")
    assert problem == (
        "The alias challenger is at version 1, but the ledger says no version: somebody has moved it by hand."
    )


def test_a_previous_version_that_was_moved_by_hand_is_told(judged):
    """A rollback would make it live."""
    registry.open_store(judged).set_registered_model_alias("shop", "previous", "1")
    (problem,) = registry.examine_ledger(judged, "shop")
    assert problem.startswith("The alias previous is at version 1, but the ledger says version 2")


def test_a_judgement_that_was_taken_off_the_end_of_the_ledger_is_missed(judged):
    client = registry.open_store(judged)
    tags = {"rebert.model_digest": "4" * 64}
    client.create_model_version("shop", (judged.artifacts / "x").as_uri(), tags=tags)
    registry.set_challenger(judged, "shop", 4)
    registry.retire_challenger(judged, "shop", 4)
    assert registry.examine_ledger(judged, "shop") == []
    for number in (7, 8):
        client.delete_registered_model_tag("shop", f"rebert.ledger.{number:04d}")
    (problem,) = registry.examine_ledger(judged, "shop")
    assert problem == "Entry 8, the newest about version 4, is gone or was replaced."


def _decision_of(slices: int, gate: dict | None = None) -> PromotionDecision:
    sentence = "accuracy -0.0821 on 120 rows, shown to be worse: p = 0.00031 after Holm, refused up to 0.05"
    rules = tuple(GateRule(f"slice country=number {n:03}", n % 2 == 1, sentence, 0.00031) for n in range(slices))
    numbers = ("accuracy", 0.9, 2, 0.9, -0.01, None, "exact McNemar test", 0.3, 0.0, 0.95, 100)
    return PromotionDecision(Path("nowhere"), False, "worse " * 500, *numbers, rules, gate=gate or {"margin": 0.0})


@pytest.mark.parametrize("slices", [2, 20, 40, 400])
def test_an_entry_fits_into_a_tag_however_many_rules_refused(slices):
    """MLflow's registered_model_tags.value is a String(5000), which PostgreSQL enforces."""
    wide = _decision_of(slices, {"required_slices": [f"city={n}" for n in range(slices)], "margin": 0.0})
    event = new_event([], "refuse", before=3, after=None, why=wide.reason, run_id="r" * 32, numbers=numbers_of(wide))
    closed = replace(event, state="abandoned", seal=seal_of(event))
    assert len(json.dumps(asdict(closed), ensure_ascii=False)) <= 5000
    rules = event.numbers["rules"]
    assert "rules_in_short" not in event.numbers
    if slices == 2:
        assert rules["slice country=number 000"].startswith("refused: accuracy -0.0821")
    elif slices == 20:
        assert rules["slice country=number 000"] == "refused, p = 0.00031"
        assert rules["slice country=number 001"] == "passed, p = 0.00031"
    else:
        assert rules["…"] == f"{slices - 12} more, {slices // 2 - 12} of them refused"


def test_the_digest_of_a_decision_is_that_of_its_file(tmp_path: Path):
    from components.digests import canonical, digest_file

    path = tmp_path / "decision.json"
    path.write_text(canonical({"metric": "accuracy", "p_value": 0.1 + 0.2, "champion_version": 2}), encoding="utf-8")
    assert numbers_of(replace(_decision_of(1), folder=tmp_path))["decision"] == digest_file(path)


def test_a_decision_that_was_changed_in_mlflow_is_told(shop, tmp_path: Path, capsys):
    from components.digests import canonical

    client = registry.open_store(shop)
    run_id = client.create_run(client.create_experiment("shop")).info.run_id
    tags = {"rebert.model_digest": "3" * 64}
    client.create_model_version("shop", (shop.artifacts / "x").as_uri(), run_id=run_id, tags=tags)
    content = {"metric": "accuracy", "champion_version": 2}
    (tmp_path / "decision.json").write_text(canonical(content), encoding="utf-8")
    decided = replace(_decision_of(1), folder=tmp_path, reason="worse")
    tracking.log_decision(shop, run_id, decided)
    registry.set_challenger(shop, "shop", 3)
    registry.retire_challenger(shop, "shop", 3, decided)
    show_history("shop", shop, None, True)
    assert json.loads(capsys.readouterr().out)["whole"] is True
    place = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    [kept] = (place / "decision" / "seen").glob("*/decision.json")
    kept.write_text(canonical(content | {"metric": "macro_f1"}), encoding="utf-8")
    with pytest.raises(RegistryError, match=r"The decision.json of entry 4, decision/seen/\w+ of run \w+, is gone or"):
        show_history("shop", shop, None, True)


@pytest.mark.parametrize("moved", [True, False])
def test_a_challenger_whose_process_was_killed_is_settled(shop, moved):
    client = registry.open_store(shop)
    event = new_event(
        ledger.events_of(client, "shop"), "challenge", before=None, after=1, why="", run_id="", alias="challenger"
    )
    ledger.write_event(client, "shop", event)
    if moved:
        client.set_registered_model_alias("shop", "challenger", "1")
    registry.settle(shop, "shop")
    assert ledger.events_of(client, "shop")[-1].state == ("done" if moved else "abandoned")
    assert registry.examine_ledger(shop, "shop") == []


def test_a_refused_version_may_be_pruned_though_the_ledger_names_it(shop):
    client = registry.open_store(shop)
    for version in (3, 4):
        tags = {"rebert.model_digest": str(version) * 64}
        client.create_model_version("shop", (shop.artifacts / "x").as_uri(), tags=tags)
    registry.set_challenger(shop, "shop", 3)
    registry.retire_challenger(shop, "shop", 3)
    needed, others = registry.needed_versions(shop, "shop", 1)
    assert ([each.version for each in needed], [each.version for each in others]) == ([1, 2, 4], [3])


def test_the_seal_of_a_champions_move_is_what_it_was_before_other_aliases_were_recorded():
    event = LedgerEvent("2026-11-01T12:00:00+00:00", "promote", None, 1, "x", "me", 1, state="done")
    then = {key: value for key, value in asdict(event).items() if key != "alias"}
    assert seal_of(event) == digest_of(then)
    assert seal_of(replace(event, alias="challenger")) != seal_of(event)


def test_entries_after_the_ten_thousandth_stay_in_order():
    class Client:
        def search_registered_models(self, _query):
            event = LedgerEvent("2026-11-01T12:00:00+00:00", "promote", None, 1, "x", "me", 1)
            tags = {f"rebert.ledger.{n:04d}": json.dumps(asdict(replace(event, number=n))) for n in (10000, 9999, 2)}
            return [SimpleNamespace(tags=tags)]

    assert [event.number for event in ledger.events_of(Client(), "shop")] == [2, 9999, 10000]
