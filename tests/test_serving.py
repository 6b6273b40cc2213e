"""A real bundle served by a real process: hostile requests, hot swap under load, death and restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from components.errors import ServingError
from components.models.model_directory import model_digest
from components.records import Bundle
from components.serving.bundling import build_bundle
from components.serving.endpoint_process import EndpointProcess, open_socket
from components.serving.keeper import Keeper, endpoint_log, serve
from components.serving.places import feedback_file
from components.serving.releases import Evidence, write_release
from components.settings import Settings
from tests.bundles import build_model, registered, tiny_config, tiny_settings

GOOD = {"text": "where is my card"}
JSON = {"content-type": "application/json"}


def until(true: Callable[[], Any], seconds: float = 60) -> float:
    """Seconds until something is true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began


@dataclass
class Served:
    """A running endpoint."""

    settings: Settings
    bundle: Bundle
    url: str = ""
    starts: list[Bundle] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def say(self, url: str, bundle: Bundle) -> None:
        self.url = url
        self.starts.append(bundle)

    def version(self) -> int:
        return int(httpx.get(f"{self.url}/readyz").json()["version"])

    def child(self) -> psutil.Process:
        return next(child for child in psutil.Process().children() if "service.start" in child.cmdline())


@pytest.fixture(scope="module")
def served(support_bundle: tuple[Settings, Bundle]) -> Iterator[Served]:
    """Version 1, supervised; other tests may swap it, but bring it back."""
    settings, bundle = support_bundle
    served = Served(settings, bundle)
    write_release(settings, "support", bundle)
    thread = threading.Thread(
        target=serve,
        args=(settings, "support"),
        kwargs={"port": 0, "on_ready": served.say, "ended": served.ended},
    )
    thread.start()
    until(lambda: served.starts)
    yield served
    served.ended.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def successor(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("successor")
    settings, config, model = tiny_settings(folder), tiny_config(), build_model(folder, seed=3)
    return build_bundle(settings, config, registered(config, 2, model_digest(model)), model, Evidence())


def predict(served: Served) -> httpx.Response:
    return httpx.post(f"{served.url}/predict", json=GOOD)


def test_the_real_endpoint_answers_with_safe_headers_and_keeps_texts_out_of_its_log(served: Served):
    response = predict(served)
    assert response.status_code == 200
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers
    assert "where is my card" not in endpoint_log(served.settings, "support").read_text(encoding="utf-8")


def test_the_real_endpoint_keeps_its_files_in_the_home_folder(served: Served):
    requests = served.settings.home / "logs" / "requests-support.jsonl"
    request = predict(served).headers["x-request-id"]
    until(lambda: requests.exists() and request in requests.read_text(encoding="utf-8"))
    assert "where is my card" not in requests.read_text(encoding="utf-8")
    body = {**GOOD, "label": "card", "request": request}
    assert httpx.post(f"{served.url}/feedback", json=body).status_code == 201
    assert request in feedback_file(served.settings, "support").read_text(encoding="utf-8")


def test_twenty_chunked_megabytes_are_refused_and_not_kept(served: Served):
    before = served.child().memory_info().rss
    chunks = (b"x" * 65536 for _ in range(320))
    response = httpx.post(f"{served.url}/predict", content=chunks, headers=JSON, timeout=20)
    assert response.status_code == 413
    assert response.json()["error"]["problem"] == "The body is larger than 8388608 bytes."
    assert served.child().memory_info().rss - before < 40e6
    assert predict(served).status_code == 200


def raw(served: Served, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes back for bytes that are sent as they are."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_body_that_never_ends_is_answered_with_408_and_cut_off(served: Served):
    began = time.monotonic()
    answer = raw(served, HEAD + b"Content-Length: 100\r\n\r\n{", pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer
    assert 4 < time.monotonic() - began < 9


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        HEAD + b"Content-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["a megabyte of header", "two lengths", "a negative length", "TLS"],
)
def test_what_is_not_http_is_refused_and_the_rest_goes_on(served: Served, request_bytes: bytes):
    try:
        answer = raw(served, request_bytes)
    except ConnectionError:
        answer = b""
    assert answer[:12] in (b"", b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") < 2
    assert predict(served).status_code == 200


@dataclass
class Load:
    """Clients that ask one after the other and note what they get."""

    url: str
    results: list[tuple[int, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.ended.is_set():
                try:
                    response = client.post("/predict", json=GOOD)
                    self.results.append((response.status_code, response.json()["version"]))
                except Exception as error:
                    self.failures.append(repr(error))

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self.run) for _ in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def test_a_swap_and_a_rollback_under_load_lose_no_request(served: Served, successor: Bundle):
    assert swap_back_and_forth(served, successor, times=2) == {(200, 1), (200, 2)}
    assert len(served.starts) == 1


@pytest.mark.slow
def test_many_swaps_under_load_lose_no_request(served: Served, successor: Bundle):
    assert swap_back_and_forth(served, successor, times=40) == {(200, 1), (200, 2)}
    assert len(served.starts) == 1


def swap_back_and_forth(served: Served, successor: Bundle, times: int) -> set[tuple[int, int]]:
    """Statuses and versions of all answers while the bundle is swapped so often."""
    with Load(served.url) as load:
        until(lambda: len(load.results) > 10)
        for number in range(times):
            bundle = served.bundle if number % 2 else successor
            write_release(served.settings, "support", bundle)
            until(lambda bundle=bundle: load.results[-1][1] == bundle.version, seconds=10)
        until(lambda: len(load.results) > 50)
    until(lambda: predict(served).json()["version"] == bundle.version)  # an answer of the one before may have been late
    assert not load.failures
    return set(load.results)


def test_a_bad_version_never_answers_and_stands_on_the_model_page(served: Served, tmp_path: Path):
    write_release(served.settings, "support", Bundle("support:9-x", tmp_path / "gone", 9, "0" * 64))
    until(lambda: httpx.get(f"{served.url}/model").json()["refused"])
    assert httpx.get(f"{served.url}/model").json()["refused"] == {
        "version": 9,
        "tag": "support:9-x",
        "reason": "support:9-x/src holds no release.json.",
    }
    assert predict(served).json()["version"] == 1
    write_release(served.settings, "support", served.bundle)
    until(lambda: not httpx.get(f"{served.url}/model").json()["refused"])


def test_a_killed_process_is_replaced_while_new_connections_wait(served: Served):
    before = served.child()
    before.kill()
    until(lambda: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE)
    assert httpx.post(f"{served.url}/predict", json=GOOD, timeout=60).json()["version"] == 1
    assert served.child().pid != before.pid
    until(lambda: len(served.starts) == 2)


def test_a_kill_under_load_gives_no_wrong_answer_and_is_soon_over(served: Served):
    until(lambda: predict(served).status_code == 200)
    right = predict(served).json()["predictions"]
    ended, good, wrong = threading.Event(), [], []

    def client() -> None:
        while not ended.is_set():
            try:
                response = httpx.post(f"{served.url}/predict", json=GOOD, timeout=30)
            except httpx.TransportError:  # was under way when the process died
                continue
            good.append(time.monotonic())
            if response.status_code != 200 or response.json()["predictions"] != right:
                wrong.append(response.text)

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    until(lambda: len(good) > 20)
    victim = served.child()
    victim.kill()
    killed = time.monotonic()
    until(lambda: good[-1] > killed + 0.5)
    ended.set()
    for thread in clients:
        thread.join()
    assert not wrong
    assert victim.pid != served.child().pid
    assert min(when for when in good if when > killed + 0.2) - killed < 20  # benchmarks/overload.py has the real figure


def test_a_taken_port_names_who_holds_it(support_bundle: tuple[Settings, Bundle]):
    settings, bundle = support_bundle
    write_release(settings, "support", bundle)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ServingError, match=rf"Port {port} on 127\.0\.0\.1 is taken by python.*{os.getpid()}"):
            serve(settings, "support", port=port)


def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(ServingError, match=r"Port 80 on 203\.0\.113\.1 cannot be opened"):
        open_socket("203.0.113.1", 80)
    with pytest.raises(ServingError, match=r"There is no address nowhere\.invalid"):
        open_socket("nowhere.invalid", 80)


def test_a_model_that_is_not_live_names_those_that_are(support_bundle: tuple[Settings, Bundle]):
    settings, bundle = support_bundle
    write_release(settings, "support", bundle)
    with pytest.raises(ServingError, match=r"No version of 'orders' is live\. Live here: support\."):
        serve(settings, "orders")


def test_a_bundle_that_cannot_start_says_its_last_words(support_bundle: tuple[Settings, Bundle], tmp_path: Path):
    settings, bundle = support_bundle
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    (folder / "src" / "model" / "golden.json").unlink()
    broken = Bundle("support:1-broken", folder, 1, bundle.model_digest)
    with (
        open_socket("127.0.0.1", 0) as listener,
        EndpointProcess(settings, broken, listener, tmp_path / "log") as child,
        pytest.raises(ServingError, match=r"support:1-broken does not start: .* is not what was trained: golden\.json"),
    ):
        child.wait_until_ready(60)


def test_what_answered_last_starts_again_where_the_live_version_cannot(
    support_bundle: tuple[Settings, Bundle], monkeypatch
):
    settings, bundle = support_bundle
    bad = Bundle("support:2-bad", Path("/nowhere"), 2, "0" * 64)
    keeper = Keeper(settings, "support", socket.socket(), 1, lambda: bad, None)
    keeper.good = bundle
    assert keeper._candidates() == [bad, bundle]
    keeper.live = lambda: bundle
    assert keeper._candidates() == [bundle]
    keeper.listener.close()


def test_a_swap_to_another_version_is_told_once(tmp_path: Path):
    settings, told = tiny_settings(tmp_path), []
    first, second = (Bundle(f"support:{number}", Path("/nowhere"), number, "0" * 64) for number in (1, 2))
    keeper = Keeper(settings, "support", socket.socket(), 1, lambda: first, None)
    keeper.good, keeper.on_swap = first, lambda url, bundle: told.append(bundle)
    for released, answers in ((first, 1), (second, 1), (second, 2), (second, 2)):
        write_release(settings, "support", released)
        keeper._note_version(answers, "http://127.0.0.1:3000")
    assert told == [second]
    keeper.listener.close()


@pytest.mark.slow
def test_idle_and_half_open_connections_are_closed_and_disturb_nobody(served: Served):
    host, port = served.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(400)]
    for connection in silent[::2]:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert predict(served).status_code == 200
    try:
        for connection in silent:
            connection.settimeout(15)
            assert connection.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
    assert predict(served).status_code == 200


CHILD = """
import sys, threading
from pathlib import Path
from components.serving.keeper import serve
from components.settings import read_settings
settings = read_settings({"REBERT_HOME": sys.argv[1]}, Path("/"))
serve(settings, "support", port=0, on_ready=lambda url, bundle: print(url, flush=True))
print("ended", flush=True)
"""


@pytest.fixture
def supervisor(support_bundle: tuple[Settings, Bundle]) -> Iterator[subprocess.Popen[str]]:
    settings, bundle = support_bundle
    write_release(settings, "support", bundle)
    command = [sys.executable, "-c", CHILD, str(settings.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_endpoint_ends_with_its_supervisor(supervisor: subprocess.Popen[str], number: signal.Signals):
    url = str(supervisor.stdout and supervisor.stdout.readline()).strip()
    [child] = psutil.Process(supervisor.pid).children()
    assert httpx.get(f"{url}/readyz").status_code == 200
    supervisor.send_signal(number)
    rest = supervisor.communicate(timeout=30)[0]
    assert rest == ("" if number == signal.SIGKILL else "ended\n")
    until(lambda: not child.is_running(), seconds=20)


@pytest.mark.slow
def test_bentoml_serves_the_same_bundle(support_bundle: tuple[Settings, Bundle], tmp_path: Path):
    from components.settings import environment_of

    settings, bundle = support_bundle
    with open_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", str(bundle.path), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **environment_of(settings)}) as process:
        try:

            def answers() -> bool:
                try:
                    return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
                except httpx.HTTPError:
                    return False

            until(answers)
            assert httpx.post(f"http://127.0.0.1:{port}/predict", json=GOOD).json()["version"] == 1
        finally:
            process.terminate()
