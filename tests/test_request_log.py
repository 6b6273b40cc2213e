"""The request log: a line a request, without a text unless its operator wants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from components.serving.places import Places
from service.application import Application
from tests.bundles import build_source, tiny_config

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
    found = lines({"text": "secret card"}, {"texts": ["secret card", "你好"]}, {"texts": ["secret", 3]})
    assert [line["status"] for line in found] == [200, 200, 422]
    assert [[row["characters"] for row in line["rows"]] for line in found] == [[11], [11, 2], []]
    assert found[0]["rows"][0]["hash"] == found[1]["rows"][0]["hash"] != found[1]["rows"][1]["hash"]
    assert (found[0]["page"], found[0]["version"], found[0]["client"]) == ("/predict", 1, "")
    text = (tmp_path / "logs" / "requests.jsonl").read_text()
    assert "secret" not in text
    assert "card" not in text
    assert (tmp_path / "logs" / "requests.jsonl").stat().st_mode & 0o777 == 0o600


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
    assert "secret" not in capfd.readouterr().err


def test_a_request_has_an_id_that_its_answer_names(support_model: Path, tmp_path: Path):
    with TestClient(Application(build_source(tmp_path, support_model, tiny_config()))) as client:
        ids = {client.post("/predict", json={"text": "card"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
