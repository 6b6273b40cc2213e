"""Explanations, corrections and batches over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from components.serving.places import Places
from service import explaining, line_batches
from service.application import Application
from tests.bundles import build_model, build_source, tiny_config

LINES = {"content-type": "application/x-ndjson"}
TEXT = "Where is my card, please? I have looked for it everywhere & it is <gone>."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback") / "new" / "support.jsonl"


@pytest.fixture(scope="module")
def client(support_model: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    source = build_source(tmp_path_factory.mktemp("bundle"), support_model, tiny_config(max_texts=4, top_k=2))
    with TestClient(Application(source, Places(feedback=store)), raise_server_exceptions=False) as client:
        yield client


def explain(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/explain", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("text", ["card", "where is my card", TEXT, "你好 card", "card " * 900], ids=lambda t: t[:12])
def test_the_weights_of_the_words_make_the_score(client: TestClient, text: str):
    found = explain(client, text=text)
    [prediction] = client.post("/predict", json={"text": text}).json()["predictions"]
    assert found["label"] == prediction["label"]
    assert found["score"] == pytest.approx(prediction["score"], abs=1e-4)
    weights = sum(word["weight"] for word in found["words"])
    assert weights == pytest.approx(found["score"] - found["baseline"], abs=1e-4)
    assert all(text[word["start"] : word["end"]] == word["text"] for word in found["words"])


def test_a_label_that_is_not_the_likeliest_is_explained_too(client: TestClient):
    top = client.post("/predict", json={"text": TEXT}).json()["predictions"][0]["top"]
    found = explain(client, text=TEXT, label=top[1]["label"], versions=64)
    assert (found["label"], found["exact"]) == (top[1]["label"], False)
    assert found["score"] == pytest.approx(top[1]["score"], abs=1e-4)
    assert found["versions"] <= 64 + 40


def test_the_same_question_gets_the_same_explanation(client: TestClient):
    assert explain(client, text=TEXT) == explain(client, text=TEXT)


def test_an_explanation_can_be_read_as_a_page_that_loads_and_runs_nothing(client: TestClient):
    response = client.post("/explain", json={"text": TEXT}, headers={"accept": "text/html"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    assert "&lt;</span>" in response.text
    assert "<gone>" not in response.text


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"text": "card", "label": "no"}, 422, "'label' is none of the model's labels; GET /model lists them."),
        ({"text": "x " * 3000}, 422, "'text' is 6000 characters long, the limit is 5000."),
        ({"text": "card", "versions": 3}, 422, "'versions' must be at least 64."),
        ({"texts": ["card"]}, 422, "'text' is missing; unknown key 'texts'."),
        ({"text": " "}, 422, "'text' is blank; every text must hold something to read."),
    ],
)
def test_what_cannot_be_explained_is_refused(client: TestClient, body: Any, status: int, problem: str):
    response = client.post("/explain", json=body)
    assert (response.status_code, response.json()["error"]["problem"]) == (status, problem)


def test_only_so_many_explanations_are_made_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explaining, "AT_ONCE", 0)
    response = client.post("/explain", json={"text": "card"})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"


def test_a_correction_is_kept_with_where_it_comes_from(client: TestClient, store: Path):
    before = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    response = client.post("/feedback", json={"text": "你好 card", "label": "card", "comment": "obvious"})
    assert response.status_code == 201
    lines = store.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(before) + 1
    kept = json.loads(lines[-1])
    assert (kept["text"], kept["label"], kept["comment"]) == ("你好 card", "card", "obvious")
    assert (kept["model"], kept["version"], kept["id"]) == ("support", 1, response.json()["id"])
    assert kept["digest"]
    assert kept["time"].endswith("+00:00")
    assert store.stat().st_mode & 0o777 == 0o600


def test_a_half_line_of_a_crash_spoils_no_correction(client: TestClient, store: Path):
    client.post("/feedback", json={"text": "a", "label": "card"})
    with store.open("a") as file:
        file.write('{"text": "half')
    client.post("/feedback", json={"text": "b", "label": "refund"})
    assert json.loads(store.read_text(encoding="utf-8").splitlines()[-1])["text"] == "b"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"text": "card"}, "'label' is missing."),
        ({"text": "card", "label": "nope"}, "'label' is none of the model's labels; GET /model lists them."),
        ({"text": "", "label": "card"}, "'text' is empty; every text must hold something to read."),
        ({"text": "card", "label": "card", "request": "../x"}, "'request' has a wrong form."),
        ({"text": "card", "label": "card", "path": "/etc"}, "unknown key 'path'."),
    ],
)
def test_a_correction_that_cannot_be_learned_from_is_refused(client: TestClient, body: Any, problem: str):
    response = client.post("/feedback", json=body)
    assert (response.status_code, response.json()["error"]["problem"]) == (422, problem)


def test_an_endpoint_without_a_place_for_corrections_says_so(support_model: Path, tmp_path: Path):
    with TestClient(Application(build_source(tmp_path, support_model, tiny_config()))) as client:
        assert client.post("/feedback", json={"text": "card", "label": "card"}).status_code == 501


def test_a_correction_that_cannot_be_stored_is_not_lost_in_silence(support_model: Path, tmp_path: Path, caplog):
    (tmp_path / "file").write_text("")
    source = build_source(tmp_path / "one", support_model, tiny_config())
    with TestClient(Application(source, Places(feedback=tmp_path / "file" / "x.jsonl"))) as client:
        response = client.post("/feedback", json={"text": "secret card", "label": "card"})
    assert response.status_code == 503
    assert "A correction is lost" in caplog.text
    assert "secret" not in caplog.text


def batch(client: TestClient, *lines: bytes) -> list[dict[str, Any]]:
    response = client.post("/batch", content=b"\n".join(lines), headers=LINES)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_batch_gets_the_answers_that_its_lines_get_alone(client: TestClient):
    texts = [f"where is my card {number}" for number in range(100)]
    found = batch(client, *(json.dumps({"text": text}).encode() for text in texts))
    assert [item["line"] for item in found] == list(range(1, 101))
    assert {item["version"] for item in found} == {1}
    for place in (0, 57, 99):
        [alone] = client.post("/predict", json={"text": texts[place]}).json()["predictions"]
        assert found[place]["prediction"]["label"] == alone["label"]
        assert found[place]["prediction"]["score"] == pytest.approx(alone["score"], abs=1e-4)


def test_a_bad_line_of_a_batch_spoils_no_other(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(line_batches, "largest_body", lambda _limits, rows: 60)
    bad = [b"", b'{"text": ""}', b"{", b'{"texts": ["a", "b"]}', b'{"text": "' + b"x" * 600 + b'"}', b"\xff"]
    found = batch(client, b'{"text": "card"}', *bad, b'{"text": "refund", "top_k": 1}')
    assert [item["line"] for item in found] == [1, 3, 4, 5, 6, 7, 8]  # the blank line is none
    assert [("prediction" in item, "error" in item) for item in found] == [
        (True, False),
        *[(False, True)] * 5,
        (True, False),
    ]
    assert found[3]["error"]["problem"] == "A line of a batch holds one row."
    assert found[4]["error"]["problem"] == "The line is longer than 60 bytes."
    assert len(found[-1]["prediction"]["top"]) == 1


def test_rows_that_cost_too_much_together_are_asked_in_slices(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    engine = client.app.live.engine()
    monkeypatch.setattr(type(engine), "most_cost", lambda _engine: engine.cost([{"text": "x" * 600}]))
    lines = [json.dumps({"text": "x" * length}).encode() for length in (500, 500, 900, 20, 20)]
    found = batch(client, *lines)
    assert ["prediction" in item for item in found] == [True, True, False, True, True]
    assert "the limit is" in found[2]["error"]["problem"]
    assert len(explain(client, text="card " * 100)["words"]) > 1


def test_a_row_that_the_model_fails_on_spoils_no_other(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    predictor = type(client.app.live.engine().predictor)
    encode = predictor.encode

    def fail(self: Any, rows: Any) -> Any:
        if any(row["text"] == "bad" for row in rows):
            raise ValueError("bad")
        return encode(self, rows)

    monkeypatch.setattr(predictor, "encode", fail)
    found = batch(client, *(json.dumps({"text": text}).encode() for text in ("card", "bad", "refund")))
    assert ["prediction" in item for item in found] == [True, False, True]


def test_a_batch_has_a_media_type_and_limits(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    assert client.post("/batch", json={"text": "card"}).status_code == 415
    monkeypatch.setattr(line_batches, "MOST_BYTES", 10)
    assert client.post("/batch", content=b'{"text": "card"}', headers=LINES).status_code == 413
    monkeypatch.setattr(line_batches, "AT_ONCE", 0)
    assert client.post("/batch", content=b'{"text": "card"}', headers=LINES).status_code == 429


def test_pairs_are_explained_and_corrected(tmp_path: Path):
    source = build_source(tmp_path, build_model(tmp_path, seed=1, pairs=True), tiny_config())
    pair = {"text": "where is my card", "text_pair": "it is a card"}
    with TestClient(Application(source, Places(feedback=tmp_path / "f.jsonl"))) as client:
        found = explain(client, **pair)
        assert {word["input"] for word in found["words"]} == {"text", "text_pair"}
        assert client.post("/feedback", json={**pair, "label": "card"}).status_code == 201
