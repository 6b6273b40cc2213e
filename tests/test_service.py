"""The endpoint's pages over HTTP: true answers, one shape of error, and the limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from components.models.golden import check_answers
from components.models.inference import Predictor
from components.models.model_directory import read_golden
from service import guard
from service.answering import largest_body
from service.application import Application
from service.guard import BodyReader, Guard, Reply
from service.problems import Problem
from tests.bundles import LABELS, build_model, build_source, tiny_config

GOOD = {"text": "where is my card"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(support_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = tiny_config(max_texts=4, max_characters=500, top_k=2)
    application = Application(build_source(tmp_path_factory.mktemp("bundle"), support_model, config))
    with TestClient(application, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def pair_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("pairs")
    application = Application(build_source(folder, build_model(folder, seed=1, pairs=True), tiny_config()))
    with TestClient(application) as client:
        yield client


def error_of(response: Any) -> tuple[int, str]:
    """Status and problem of an answer that must have the one shape of errors."""
    content = response.json()
    assert content.keys() == {"error"}
    assert content["error"].keys() == {"problem", "hint"}
    assert response.headers["content-type"] == "application/json"
    return response.status_code, content["error"]["problem"]


def test_one_text_is_answered_as_the_model_answers_it(client: TestClient, support_model: Path):
    answer = client.post("/predict", json=GOOD).json()
    expected = Predictor.load(support_model).predict([GOOD])[0]
    assert (answer["model"], answer["version"]) == ("support", 1)
    [prediction] = answer["predictions"]
    assert prediction["label"] == expected["label"]
    assert prediction["score"] == pytest.approx(expected["score"], abs=1e-4)
    assert [item["score"] for item in prediction["top"]] == sorted(
        (item["score"] for item in prediction["top"]), reverse=True
    )
    assert len(prediction["top"]) == 2


def test_several_texts_keep_their_order_and_get_the_answers_they_get_alone(client: TestClient):
    texts = ["refund", "please help me with the payment " * 9, "你好", "how much is left"]
    together = client.post("/predict", json={"texts": texts, "top_k": 99}).json()["predictions"]
    alone = [client.post("/predict", json={"text": text, "top_k": 99}).json()["predictions"][0] for text in texts]
    assert [item["label"] for item in together] == [item["label"] for item in alone]
    for one, other in zip(together, alone, strict=True):
        assert {item["label"] for item in one["top"]} == set(LABELS)
        assert [item["score"] for item in one["top"]] == pytest.approx(
            [item["score"] for item in other["top"]], abs=1e-4
        )


def test_a_model_of_pairs_takes_pairs(pair_client: TestClient):
    pair = {"text": "where is my card", "text_pair": "it is a card"}
    one = pair_client.post("/predict", json=pair).json()["predictions"]
    many = pair_client.post("/predict", json={"texts": [pair, pair]}).json()["predictions"]
    assert one[0]["label"] == many[0]["label"] == many[1]["label"]
    assert pair_client.get("/model").json()["inputs"] == ["text", "text_pair"]


def test_a_model_of_pairs_refuses_single_texts(pair_client: TestClient):
    assert error_of(pair_client.post("/predict", json=GOOD)) == (
        422,
        "the key 'text_pair' is missing: this model reads text and text_pair.",
    )
    assert error_of(pair_client.post("/predict", json={"texts": ["a"]})) == (422, "'texts[0]' must be a JSON object.")


EMPTY = "is empty; every text must hold something to read"
BAD_BODIES = [
    (b"", 400, "The body is not valid JSON: EOF while parsing a value at line 1 column 0."),
    (b"{", 400, "The body is not valid JSON: EOF while parsing an object at line 1 column 1."),
    (b"\xff\xfe", 400, "The body is not valid JSON: expected value at line 1 column 1."),
    (
        b'{"text":"\\ud83d"}',
        400,
        "The body is not valid JSON: half a surrogate pair, or unexpected end of hex escape at line 1 column 16.",
    ),
    (b"[" * 20_000, 400, "The body is not valid JSON: recursion limit exceeded at line 1 column 202."),
    (b"[]", 422, "the body must be a JSON object."),
    (b"{}", 422, "the request holds neither 'text' nor 'texts'."),
    (b'{"texts":[]}', 422, "'texts' is an empty list."),
    (b'{"text":""}', 422, f"'text' {EMPTY}."),
    (b'{"text":" \\n\\u3000"}', 422, "'text' is blank; every text must hold something to read."),
    (b'{"text":"\\u0085"}', 422, "'text' is blank; every text must hold something to read."),
    (b'{"text":"\\ufeff\\u001c"}', 422, "'text' is blank; every text must hold something to read."),
    (b'{"texts":["a",""]}', 422, f"'texts[1]' {EMPTY}."),
    (b'{"text":"a\\u0000b"}', 422, "'text' holds a NUL character."),
    (b'{"text":null}', 422, "'text' must be a string."),
    (b'{"texts":["a",7]}', 422, "'texts[1]' must be a string."),
    (b'{"texts":"a"}', 422, "'texts' must be a list."),
    (b'{"texts":["a","a","a","a","a"]}', 422, "'texts' holds more than 4 items."),
    (b'{"text":"' + b"x" * 501 + b'"}', 422, "'text' is 501 characters long, the limit is 500."),
    (b'{"text":"a","texts":["a"]}', 422, "'texts' and 'text' cannot stand in one request."),
    (b'{"text":"a","topk":1}', 422, "unknown key 'topk'."),
    (b'{"text":"a","top_k":0}', 422, "'top_k' must be at least 1."),
    (b'{"text":"a","top_k":true}', 422, "'top_k' must be a whole number."),
    (b'{"text":"a","top_k":"2"}', 422, "'top_k' must be a whole number."),
]


@pytest.mark.parametrize(("body", "status", "problem"), BAD_BODIES, ids=lambda value: str(value)[:24])
def test_a_bad_body_is_refused_in_one_sentence(client: TestClient, body: bytes, status: int, problem: str):
    assert error_of(client.post("/predict", content=body, headers=JSON)) == (status, problem)


def test_several_problems_are_listed_at_once_and_not_without_end(client: TestClient):
    _, problem = error_of(client.post("/predict", json={"texts": ["", " ", 3], "top_k": 0, "x": 1, "y": 2, "z": 3}))
    assert problem.count(";") >= 5
    assert problem.endswith("and 2 more problems.")


def test_no_answer_repeats_a_text(client: TestClient):
    response = client.post("/predict", json={"texts": ["secret \0 words", "secret words " * 99]})
    assert "secret" not in response.text


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}, {**JSON, "content-encoding": "gzip"}])
def test_only_plain_json_is_taken(client: TestClient, headers: dict[str, str]):
    response = client.post("/predict", content=json.dumps(GOOD), headers=headers)
    assert error_of(response) == (415, "The body is not declared as plain JSON.")


@pytest.mark.parametrize("path", ["/nope", "/predict/", "/../etc/passwd", "/schema.json", "/%00", "/docs/../../x"])
def test_there_are_no_other_pages(client: TestClient, path: str):
    assert error_of(client.get(path)) == (404, "There is no such page.")


def test_another_method_says_which_one_to_use(client: TestClient):
    for method, path, allowed in (
        ("GET", "/predict", "POST"),
        ("POST", "/model", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
    ):
        response = client.request(method, path)
        assert error_of(response) == (405, "This page does not take that method.")
        assert response.headers["allow"] == allowed


def test_other_origins_get_no_leave(client: TestClient):
    response = client.options("/predict", headers={"origin": "http://x", "access-control-request-method": "POST"})
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_body_that_declares_too_much_is_not_read(client: TestClient):
    limit = largest_body(tiny_config(max_texts=4, max_characters=500).serving)
    status, problem = error_of(client.post("/predict", content=b" " * (limit + 1), headers=JSON))
    assert (status, problem) == (413, f"The body is larger than {limit} bytes.")


def test_the_model_page_tells_what_answers_and_why(client: TestClient, support_model: Path):
    facts = client.get("/model").json()
    assert facts["labels"] == list(LABELS)
    assert (facts["name"], facts["version"], facts["run_id"], facts["max_length"]) == ("support", 1, "run1", 64)
    assert (facts["metrics"], facts["decision"], facts["refused"]) == ({"accuracy": 0.91}, "Better by 2 points.", None)


def test_a_request_without_a_chance_is_refused_before_it_is_one_and_counted(client: TestClient, monkeypatch):
    application: Any = client.app

    async def refuse(url: bytes) -> Any:
        return application.refuse(url)

    assert asyncio.run(refuse(b"/predict")) is None
    monkeypatch.setattr(application.batcher, "waiting_cost", 10**9)
    monkeypatch.setattr(application.batcher, "seconds_per_cost", 1e-6)
    refusal = asyncio.run(refuse(b"/predict"))
    assert refusal.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nretry-after: " in refusal
    assert error_of(client.post("/predict", json=GOOD)) == (
        429,
        json.loads(refusal.split(b"\r\n\r\n")[1])["error"]["problem"],
    )
    assert asyncio.run(refuse(b"/model")) is None
    assert 'http_response_code="429",service_name="support",service_version="1"} 2.0' in client.get("/metrics").text


def test_probes_metrics_and_the_page_for_people(client: TestClient):
    assert client.get("/livez").json() == {"alive": True}
    assert client.get("/readyz").json() == {"ready": True, "version": 1}
    assert client.head("/readyz").status_code == 200
    client.get("/secret-path")
    text = client.get("/metrics").text
    assert 'rebert_model_info{digest="' in text
    assert 'bentoml_service_request_total{endpoint="other",http_response_code="404"' in text
    assert "secret-path" not in text
    page = client.get("/docs")
    assert "http" not in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for asset in ("docs/start.js", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"):
        assert client.get(f"/{asset}").status_code == 200


def test_rows_that_are_read_in_several_windows_are_counted(client: TestClient):
    def windowed() -> float:
        lines = client.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith("rebert_windowed_rows_total"))

    before = windowed()
    assert client.post("/predict", json={"texts": ["a b c d e f g h " * 25, "a"]}).status_code == 200
    assert windowed() == before + 1


def test_the_openapi_document_has_the_limits_of_this_model(client: TestClient, pair_client: TestClient):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    one, several = schemas["OneRow"]["properties"], schemas["SeveralRows"]["properties"]
    assert several["texts"]["maxItems"] == 4
    assert one["text"]["maxLength"] == 500
    assert (one["top_k"]["minimum"], one["top_k"]["type"]) == (1, "integer")
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "405", "408", "413", "415", "422", "429", "500", "503"}
    assert all("X-Request-Id" in response["headers"] for response in responses.values())
    of_batch = document["paths"]["/batch"]["post"]["responses"]["413"]["description"]
    assert of_batch == f"The body is larger than {256 << 20} bytes."
    assert set(client.get("/model").json()) == set(schemas["ModelFacts"]["properties"])
    pairs = pair_client.get("/openapi.json").json()["components"]["schemas"]
    assert pairs["SeveralRows"]["properties"]["texts"]["items"] == {"$ref": "#/components/schemas/Row"}


def test_golden_rows_get_the_trainers_answers_over_http(client: TestClient, support_model: Path):
    for golden in read_golden(support_model):
        [prediction] = client.post("/predict", json={**golden.row, "top_k": 3}).json()["predictions"]
        assert check_answers([golden], [prediction]) <= 1e-4


class Client:
    """An ASGI client that sends what it is told, when it is told."""

    def __init__(self, *chunks: bytes, pause: float = 0.0, stays: bool = True) -> None:
        self.messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        self.pause = pause
        self.stays = stays
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        await asyncio.sleep(self.pause)
        if self.messages:
            return self.messages.pop(0)
        if self.stays:
            await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


SCOPE: dict[str, Any] = {"type": "http", "path": "/", "method": "POST", "headers": []}


def read(client: Client, limit: int = 100) -> bytes:
    return asyncio.run(BodyReader().read(SCOPE, client.receive, limit))


def test_a_chunked_body_is_stopped_at_the_limit(monkeypatch):
    monkeypatch.setattr(guard, "DISCARD_SECONDS", 0.05)
    with pytest.raises(Problem, match="413"):
        read(Client(*[b"x" * 60] * 3))


def test_a_slow_body_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    with pytest.raises(Problem, match="408"):
        read(Client(*[b"x"] * 50, pause=0.01))


def test_bodies_that_arrive_together_have_a_limit_together(monkeypatch):
    monkeypatch.setattr(guard, "MOST_ARRIVING_BYTES", 50)
    with pytest.raises(Problem, match="503"):
        read(Client(b"x" * 60))


def test_a_client_that_leaves_gets_no_answer_and_makes_no_noise(caplog):
    async def handle(scope: Any, receive: Any) -> Reply:
        return Reply(await BodyReader().read(scope, receive, 100))

    client = Client(b"x", stays=False)
    asyncio.run(Guard(handle, lambda *_: None)(SCOPE, client.receive, client.send))
    assert client.sent == []
    assert not caplog.records


def test_a_fault_within_a_stream_cuts_it_and_is_logged_without_the_text(caplog):
    async def pieces():
        yield b"one"
        raise ValueError("a text of a customer")

    async def handle(_scope: Any, _receive: Any) -> Reply:
        return Reply(b"", stream=pieces())

    client = Client()
    asyncio.run(Guard(handle, lambda *_: None)(dict(SCOPE), client.receive, client.send))
    assert [message.get("body") for message in client.sent] == [None, b"one"]
    assert "customer" not in caplog.text
    assert "ValueError in pieces" in caplog.text


def test_a_full_disk_under_a_long_body_is_no_fault_of_the_client():
    class Full:
        def write(self, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(Problem, match="503"):
        asyncio.run(BodyReader().spool(SCOPE, Client(b"x").receive, 100, Full()))  # type: ignore[arg-type]


def test_a_fault_is_answered_with_500_and_logged_without_the_text(caplog):
    async def handle(_scope: Any, _receive: Any) -> Reply:
        raise ValueError("a text of a customer")

    client = Client()
    asyncio.run(Guard(handle, lambda *_: None)(SCOPE, client.receive, client.send))
    assert client.sent[0]["status"] == 500
    assert "customer" not in caplog.text + str(client.sent)
    assert "ValueError in handle" in caplog.text
