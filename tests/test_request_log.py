"""The request log: a line a request, without a text unless its operator wants it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from components.serving.places import Places
from service import request_log
from service.application import Application
from service.entry import Entry
from tests.bundles import build_source, tiny_config
from tests.prefect_server import until

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lines(support_model: Path, tmp_path: Path) -> Run:
    """The log's lines after an endpoint with such limits got these requests."""

    def run(*bodies: object, **serving: object) -> list[dict[str, Any]]:
        source = build_source(tmp_path / f"run{len(list(tmp_path.iterdir()))}", support_model, tiny_config(**serving))
        with TestClient(Application(source, Places(requests=tmp_path / "logs" / "requests.jsonl"))) as client:
            for body in bodies:
                client.post("/predict", json=body)
            client.get("/model")
        path = tmp_path / "logs" / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return run


def test_a_request_is_logged_by_length_and_hash_only(lines: Run, tmp_path: Path):
    found = lines({"text": "secret pin"}, {"texts": ["secret pin", "你好"]}, {"texts": ["secret", 3]})
    assert [line["status"] for line in found] == [200, 200, 422]
    assert [[row["characters"] for row in line["rows"]] for line in found] == [[10], [10, 2], []]
    assert found[0]["rows"][0]["hash"] == found[1]["rows"][0]["hash"] != found[1]["rows"][1]["hash"]
    assert (found[0]["page"], found[0]["version"], found[0]["client"]) == ("/predict", 1, "")
    text = (tmp_path / "logs" / "requests.jsonl").read_text()
    assert "secret" not in text
    assert "pin" not in text
    assert (tmp_path / "logs" / "requests.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_line_has_what_the_monitor_measures(lines: Run):
    [line] = lines({"texts": ["where is my card", "你好 ☃"]})
    first, second = line["rows"]
    assert (first["script"], second["script"]) == ("Latin", "Han")
    assert first["unknown"] == 0.0 < second["unknown"]
    assert first["tokens"] == 6
    assert first["label"] in ("balance", "card", "refund")
    assert 0 < first["entropy"] <= 1
    assert 1 / 3 < first["confidence"] <= 1
    assert len(first["projection"]) == len(second["projection"]) == 16


def test_a_text_gets_the_same_measures_alone_and_in_company(lines: Run):
    together, alone = lines({"texts": ["where is my card", "i want my money back"]}, {"text": "where is my card"})
    keys = ("characters", "tokens", "label", "hash", "script")
    assert [together["rows"][0][key] for key in keys] == [alone["rows"][0][key] for key in keys]
    assert together["rows"][0]["projection"] == pytest.approx(alone["rows"][0]["projection"], abs=2e-3)


def test_projections_are_left_out_where_that_is_switched_off(lines: Run):
    [line] = lines({"text": "card"}, log_projections=False)
    assert "projection" not in line["rows"][0]
    assert "confidence" in line["rows"][0]


def test_a_batch_is_logged_in_slices(support_model: Path, tmp_path: Path):
    source = build_source(tmp_path / "one", support_model, tiny_config(log_texts=1.0))
    body = "".join(json.dumps({"text": f"card {number}"}) + "\n" for number in range(40))
    with TestClient(Application(source, Places(requests=tmp_path / "log.jsonl"))) as client:
        answer = client.post("/batch", content=body, headers={"content-type": "application/x-ndjson"})
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert len(answers) == 40
    found = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["page"], line.get("part"), len(line["rows"])) for line in found] == [
        ("/batch", 1, 32), ("/batch", 2, 8), ("/batch", None, 0),
    ]  # fmt: skip
    assert len({line["request"] for line in found}) == 1
    assert [text for line in found for text in line["texts"]] == [{"text": f"card {number}"} for number in range(40)]
    predictions = [prediction for line in found for prediction in line["predictions"]]
    assert predictions == [item["prediction"] for item in answers]


def test_a_new_day_begins_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [1_800_000_000.0]
    monkeypatch.setattr(request_log.time, "time", lambda: now[0])
    path = tmp_path / "requests.jsonl"
    path.write_text("yesterday\n")
    os.utime(path, (now[0] - 86_400, now[0] - 86_400))
    with request_log.QuietFile(path, maxBytes=100, backupCount=3, encoding="utf-8", delay=True) as file:
        for text in ("today", "today too"):
            file.emit(logging.makeLogRecord({"msg": text}))
        now[0] += 86_400
        file.emit(logging.makeLogRecord({"msg": "tomorrow"}))
    assert path.read_text() == "tomorrow\n"
    assert [(tmp_path / f"requests.jsonl.{n}").read_text() for n in (1, 2)] == ["today\ntoday too\n", "yesterday\n"]


def test_what_does_not_fit_into_the_queue_is_counted_and_told(support_model: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(request_log, "MOST_WAITING", 2)
    source = build_source(tmp_path / "one", support_model, tiny_config())
    app = Application(source, Places(requests=tmp_path / "log.jsonl"))
    begin = app.log.start
    monkeypatch.setattr(app.log, "start", lambda: None)  # a disk that is not there yet
    with TestClient(app) as client:
        for _ in range(5):
            assert client.post("/predict", json={"text": "card"}).status_code == 200
        assert 'rebert_unlogged_requests{service_name="support"} 3.0' in client.get("/metrics").text
        begin()
        until(lambda: not app.log.waiting)
        client.post("/predict", json={"text": "card"})
    found = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum(line.get("lost", 0) for line in found) == 3
    assert len(found) == 3


def test_hashes_hold_over_a_restart_and_not_in_another_log(lines: Run, tmp_path: Path):
    first = lines({"text": "card"})[0]["rows"]
    assert lines({"text": "card"})[1]["rows"] == first
    (tmp_path / "logs" / "requests.salt").unlink()
    assert lines({"text": "card"})[2]["rows"] != first


def test_texts_are_logged_where_that_is_switched_on(lines: Run):
    [line] = lines({"text": "card"}, log_texts=1.0)
    assert line["texts"] == [{"text": "card"}]
    assert line["predictions"][0]["label"] in ("balance", "card", "refund")


def test_no_request_is_logged_where_that_is_switched_off(lines: Run):
    assert lines({"text": "card"}, log_requests=False) == []


def test_a_log_that_cannot_be_written_stops_nobody(support_model: Path, tmp_path: Path, capfd):
    (tmp_path / "file").write_text("")
    source = build_source(tmp_path / "one", support_model, tiny_config())
    with TestClient(Application(source, Places(requests=tmp_path / "file" / "log.jsonl"))) as client:
        assert client.post("/predict", json={"text": "secret card"}).status_code == 200
        until(lambda: not client.app.log.thread.is_alive())
        assert client.post("/predict", json={"text": "secret card"}).status_code == 200
        assert 'rebert_unlogged_requests{service_name="support"} 2.0' in client.get("/metrics").text
        assert not client.app.log.waiting
    assert "secret" not in capfd.readouterr().err


def test_a_request_that_cannot_be_written_down_spoils_no_other(
    support_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def hash_texts(texts: list[str], _salt: bytes) -> str:
        if texts == ["secret"]:
            raise ValueError(texts)
        return ""

    monkeypatch.setattr(request_log, "hash_texts", hash_texts)
    source = build_source(tmp_path / "one", support_model, tiny_config())
    with TestClient(Application(source, Places(requests=tmp_path / "log.jsonl"))) as client:
        for text in ("secret", "card"):
            client.post("/predict", json={"text": text})
    [line] = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (line["rows"][0]["characters"], line["lost"]) == (4, 1)


def test_a_request_has_an_id_that_its_answer_names(support_model: Path, tmp_path: Path):
    with TestClient(Application(build_source(tmp_path, support_model, tiny_config()))) as client:
        ids = {client.post("/predict", json={"text": "card"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_under_load_a_part_of_the_answers_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(request_log, "MEASURED_A_SECOND", 3)
    monkeypatch.setattr(request_log, "MEASURED_AT_ONCE", 3)
    clock = SimpleNamespace(monotonic=lambda: 7.5)
    monkeypatch.setattr(request_log, "time", clock)
    meters, answered = request_log.Meters(), SimpleNamespace(engine=None, windows=None, answers=None)
    entry = Entry("a", rows=({"text": "card"}, {"text": "fee"}), answered=cast(Any, answered))
    meter = SimpleNamespace(measure=lambda rows, *_: [{"tokens": 1} for _ in rows])
    monkeypatch.setattr(meters, "_of", lambda *_: meter)
    measured = [meters.measured(entry, project=False) for _ in range(3)]
    assert measured == [[{"tokens": 1}] * 2, [{"tokens": 1}] * 2, [{}] * 2]
    clock.monotonic = lambda: 8.5
    assert meters.measured(entry, project=False) == [{"tokens": 1}] * 2
