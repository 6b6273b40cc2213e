"""Connections over real sockets: early refusals, heads without end, requests behind each other."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn

from service import connections
from service.connections import MOST_HEAD_BYTES, refusing
from service.guard import busy_response

BUSY: set[bytes] = set()
BODIES: list[bytes] = []
STREAMED = threading.Event()  # the endless answer has come to an end


async def echo(scope, receive, send) -> None:
    """Answers with the length of the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    BODIES.append(body)
    answer = str(len(body)).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def stream(receive, send) -> None:
    """Answers without end, until the client leaves."""
    gone = asyncio.ensure_future(until_gone(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)
    STREAMED.set()


async def until_gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(scope, receive, send) -> None:
    await (stream(receive, send) if scope["path"] == "/endless" else echo(scope, receive, send))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    def refuse(url: bytes) -> bytes | None:
        return busy_response(3) if url in BUSY else None

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        config = uvicorn.Config(
            answer, http=refusing(refuse), ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def nothing_is_busy() -> Iterator[None]:
    BODIES.clear()
    yield
    BUSY.clear()


def post(path: str, body: bytes, more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def converse(port: int, *parts: bytes, seconds: float = 5) -> bytes:
    """All that comes back for parts that are sent one after the other, until nothing comes for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        found = b""
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        connection.settimeout(0.3)
        try:
            while more := connection.recv(65536):
                found += more
        except TimeoutError:
            pass
        return found


def test_what_is_refused_never_reaches_the_application_and_the_connection_goes_on(port: int):
    BUSY.add(b"/predict")
    found = converse(port, post("/predict", b"x" * 1000), post("/other", b"abc"))
    refused, answered = found.split(b"HTTP/1.1 ")[1:]
    assert refused.startswith(b"429 Too Many Requests\r\n")
    assert b"retry-after: 3\r\n" in refused
    assert re.search(rb"x-request-id: [0-9a-f]{16}\r\n", refused)
    assert refused.endswith(b'send it again after 3 s."}}')
    assert answered.startswith(b"200 OK")
    assert BODIES == [b"abc"]


def test_a_refused_body_may_come_in_parts_and_its_client_may_want_to_close(port: int):
    BUSY.add(b"/predict")
    whole = post("/predict", b"x" * 100, "Connection: close\r\n")
    found = converse(port, whole[:30], whole[30:90], whole[90:])
    assert found.startswith(b"HTTP/1.1 429")
    assert found.count(b"HTTP/1.1") == 1
    assert BODIES == []


@pytest.mark.parametrize("more", ["", "Connection: keep-alive\r\n", "Accept: */*\r\nX-Api-Key: a:b\r\n"])
def test_a_plain_request_is_refused_without_the_parser(port: int, more: str, monkeypatch):
    BUSY.add(b"/predict")
    monkeypatch.setattr(
        connections.PatientProtocol, "on_message_begin", lambda self: pytest.fail("the parser was asked")
    )
    found = converse(port, post("/predict", b"abc", more), post("/predict", b"", more))
    assert found.count(b"HTTP/1.1 429") == found.count(b"HTTP/1.1") == 2


def test_while_it_refuses_the_loop_looks_at_its_sockets_now_and_then_alone(port: int, monkeypatch):
    BUSY.add(b"/predict")
    monkeypatch.setattr(connections, "BREATH_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        times = []
        for _ in range(4):
            began = time.monotonic()
            connection.sendall(post("/predict", b"abc"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 429")
            times.append(time.monotonic() - began)
    assert min(times[2:]) > 0.03  # the first ones come with the connection


def test_new_connections_are_taken_without_a_breath_between_them(port: int, monkeypatch):
    BUSY.add(b"/predict")
    monkeypatch.setattr(connections, "BREATH_SECONDS", 0.1)
    began = time.monotonic()
    others = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(100)]
    for each in others:
        each.sendall(post("/predict", b"abc"))
    assert all(each.recv(65536).startswith(b"HTTP/1.1 429") for each in others)
    assert time.monotonic() - began < 5  # one for each would take ten seconds
    for each in others:
        each.close()


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (post("/predict", b"abc") + post("/predict", b"abc"), [b"429", b"429"]),
        (post("/predict", b"abc", "Connection: close\r\n") + post("/predict", b"abc"), [b"429"]),
        (post("/predict", b"abc", "Content-Length: 4\r\n"), [b"400"]),
        (post("/predict", b"abc", "Transfer-Encoding: chunked\r\n"), [b"400"]),
        (post("/predict", b"abc", "X Y: z\r\n"), [b"400"]),
        (post("/predict", b"abc").replace(b"HTTP/1.1", b"HTTP/1.0"), [b"429"]),
        (post("/predict", b"abc") + b"nonsense\r\n\r\n", [b"429", b"400"]),
        (post("/predict", b"abc", "Expect: 100-continue\r\n"), [b"100", b"200"]),
    ],
)
def test_any_other_request_is_read_by_the_parser(port: int, request_bytes: bytes, statuses: list[bytes]):
    BUSY.add(b"/predict")
    assert re.findall(rb"HTTP/1\.[01] (\d+)", converse(port, request_bytes)) == statuses


def test_a_response_is_one_write(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for body in (b"abc", b"", b"x" * 100):
            connection.sendall(post("/a", body))
            assert connection.recv(65536).endswith(b"\r\n\r\n%d" % len(body))


def test_a_long_or_chunked_body_takes_the_long_way(port: int):
    BUSY.add(b"/predict")
    chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    found = converse(port, chunked, post("/predict", b"x" * (connections.MOST_REFUSED_BYTES + 1)))
    assert found.count(b"HTTP/1.1 200") == 2
    assert [len(body) for body in BODIES] == [3, connections.MOST_REFUSED_BYTES + 1]


def test_requests_behind_each_other_are_answered_in_their_order(port: int):
    found = converse(port, b"".join(post("/a", b"x" * length) for length in (1, 22, 333)))
    assert [part.split(b"\r\n\r\n")[1] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"1", b"22", b"333"]
    assert [len(body) for body in BODIES] == [1, 22, 333]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * (MOST_HEAD_BYTES + 1) + b"\r\n\r\n",
        b"GET /" + b"a" * (MOST_HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: aaaa\r\n" * (MOST_HEAD_BYTES // 5) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * (4 * MOST_HEAD_BYTES),
    ],
    ids=["a long value", "a long address", "many headers", "no end"],
)
def test_a_head_that_is_too_large_is_refused(port: int, head: bytes):
    parts = [head[start : start + 16384] for start in range(0, len(head), 16384)]
    try:
        found = converse(port, *parts)
    except ConnectionError:  # it had gone while we were still sending
        found = b"HTTP/1.1 400"
    assert found.startswith(b"HTTP/1.1 400")
    assert BODIES == []


def test_who_asks_nothing_is_let_go(port: int, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    for said in (b"", b"GET / HTTP/1.1\r\nX-Slow: "):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(said)
            assert connection.recv(1) == b""


def test_who_is_refused_and_does_not_send_the_body_is_let_go(port: int, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    BUSY.add(b"/predict")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(post("/predict", b"x" * 100)[:-90])
        assert connection.recv(1) == b""


def test_who_is_refused_over_and_over_and_never_reads_is_let_go(port: int):
    BUSY.add(b"/predict")
    requests = post("/predict", b"abc") * 200
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", port))
        with pytest.raises(ConnectionError):
            connection.sendall(requests * 2000)  # far more than the buffers of both sockets hold


def test_who_does_not_read_the_answer_is_let_go(port: int, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert STREAMED.wait(5)
