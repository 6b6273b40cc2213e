"""A version on trial beside the live one, in a real endpoint: begun, compared, and ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from components.errors import BundleError
from components.models.model_directory import model_digest
from components.records import Bundle
from components.serving.corrections import write_corrections
from components.serving.places import Places
from components.serving.releases import MODEL
from components.serving.trials import begin_trial, end_file, end_trial, how_it_ended, note_end, read_trial
from service import trials
from service.application import Application
from tests.bundles import build_model, build_source, tiny_config


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Version 2, which decides otherwise."""
    folder = tmp_path_factory.mktemp("other")
    source = build_source(folder, build_model(folder, seed=2), tiny_config(), version=2)
    return Bundle("support:2-x", source.parent, 2, model_digest(source / MODEL))


@pytest.fixture
def client(support_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(trials, "POLL_SECONDS", 0.02)
    source = build_source(tmp_path, support_model, tiny_config())
    with TestClient(Application(source, Places(trial=tmp_path / "trials" / "support.json"))) as client:
        yield client


def place(client: TestClient) -> Path:
    return client.app.places.trial


def trial_of(client: TestClient) -> dict[str, Any] | None:
    return client.get("/model").json()["trial"]


def until(true: Callable[[], Any]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


def versions(client: TestClient, requests: int = 40) -> list[int]:
    return [client.post("/predict", json={"text": f"card {n}"}).json()["version"] for n in range(requests)]


def test_a_canary_answers_until_its_trial_ends(client: TestClient, other: Bundle):
    assert trial_of(client) is None
    begin_trial(place(client), other, "canary", 0.5)
    until(lambda: trial_of(client))
    assert {1, 2} == set(versions(client))
    assert trial_of(client)["state"] == "running"
    end_trial(place(client))
    until(lambda: not trial_of(client))
    assert set(versions(client)) == {1}


def test_a_shadow_is_compared_and_never_seen(client: TestClient, other: Bundle):
    begin_trial(place(client), other, "shadow", 1.0)
    until(lambda: trial_of(client))
    assert set(versions(client)) == {1}
    until(lambda: trial_of(client)["rows"] == 40)
    assert trial_of(client)["disagreements"] > 0
    assert "rebert_trial_disagreements_total" in client.get("/metrics").text


def test_a_canary_that_errs_is_ended_for_good_and_no_request_fails(client: TestClient, other: Bundle, monkeypatch):
    begin_trial(place(client), other, "canary", 1.0)
    until(lambda: trial_of(client))
    engine = client.app.answering.trials.current.batcher.engine()
    kind = type(engine.predictor)
    monkeypatch.setattr(kind, "outputs_of_batch", failing(engine.predictor, kind.outputs_of_batch))
    assert set(versions(client)) == {1}
    until(lambda: trial_of(client)["state"] == "ended")
    assert trial_of(client)["reason"] == "3 of 3 requests got no answer."
    trial = read_trial(place(client))
    assert how_it_ended(end_file(place(client)), trial).reason == "3 of 3 requests got no answer."
    again = Application(client.app.live.source, client.app.places)
    with TestClient(again) as restarted:  # it does not begin anew
        until(lambda: trial_of(restarted))
        assert trial_of(restarted)["state"] == "ended"
        assert set(versions(restarted, 5)) == {1}


def test_the_end_of_a_trial_is_noted_where_the_endpoint_may_write(
    support_model: Path, tmp_path: Path, other: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trials, "POLL_SECONDS", 0.02)
    places = Places(trial=tmp_path / "home" / "support.json", trial_end=tmp_path / "own" / "support.ended.json")
    trial = begin_trial(places.trial, other, "canary", 1.0)
    with TestClient(Application(build_source(tmp_path, support_model, tiny_config()), places)) as client:
        until(lambda: client.app.answering.trials.current)
        client.app.answering.trials.current.verdict = "Too slow."
        until(lambda: how_it_ended(places.trial_end, trial))
    assert [path.name for path in places.trial.parent.iterdir()] == ["support.json"]


def failing(bad: Any, compute: Any) -> Any:
    def asked(predictor: Any, features: Any) -> Any:
        if predictor is bad:
            raise ValueError("broken")
        return compute(predictor, features)

    return asked


def test_a_bundle_that_cannot_be_tried_is_refused_with_the_reason(client: TestClient, other: Bundle, tmp_path: Path):
    gone = Bundle("support:9-x", tmp_path / "gone", 9, "0" * 64)
    begin_trial(place(client), gone, "shadow", 1.0)
    until(lambda: trial_of(client))
    assert (trial_of(client)["state"], trial_of(client)["reason"]) == ("refused", "src holds no release.json.")
    assert set(versions(client, 5)) == {1}
    folder = tmp_path / "pairs"
    source = build_source(folder, build_model(folder, seed=1, pairs=True), tiny_config(), version=3)
    begin_trial(place(client), Bundle("x", source.parent, 3, model_digest(source / MODEL)), "shadow", 1.0)
    until(lambda: (trial_of(client) or {}).get("version") == 3)
    assert trial_of(client)["reason"] == "It does not read what the live version reads."


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}'])
def test_a_damaged_trial_file_changes_nothing(client: TestClient, text: str):
    place(client).parent.mkdir()
    place(client).write_text(text)
    time.sleep(0.1)
    assert trial_of(client) is None
    assert set(versions(client, 3)) == {1}
    with pytest.raises(BundleError, match="does not name a trial"):
        read_trial(place(client))
    assert end_trial(place(client)) is None
    assert not place(client).exists()


def test_a_new_trial_of_the_same_version_is_another_trial(tmp_path: Path, other: Bundle):
    file, end = tmp_path / "support.json", tmp_path / "support.ended.json"
    first = begin_trial(file, other, "canary", 0.1)
    note_end(end, first, "Too slow.")
    assert how_it_ended(end, first)
    assert how_it_ended(end, begin_trial(file, other, "canary", 0.1)) is None


def test_the_newest_correction_of_each_row_is_written(tmp_path: Path):
    lines = [{"text": "a", "label": "card"}, {"text": "b", "label": "card"}, {"text": "a", "label": "refund"}]
    source, target = tmp_path / "support.jsonl", tmp_path / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)) + '\n{"text": "ha')
    found = write_corrections(source, target)
    assert (found.rows, found.replaced, found.broken) == (2, 1, 1)
    assert [json.loads(line) for line in target.read_text().splitlines()] == [lines[1], lines[2]]
