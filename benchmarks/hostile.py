"""Requests that want to break the endpoint: what each is answered, what memory it costs, and what others notice.

    python benchmarks/hostile.py [--quick]

Each attack is made on a real endpoint process, by a process of its own, while somebody else asks a text twenty times a
second. All three share this machine's cores, which an attacker from elsewhere would not take.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from report import Table, machine, write_result
from small_endpoint import small_endpoint, tiny_bundle

from components.serving.endpoint_process import Address, EndpointProcess

GOAL = "413, 400, 408 or a closed connection; memory within 10 MB; the others' p99 below 1.2 times the usual"
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WATCHED_SECONDS = 5.0
MEGABYTE = b" " * (1 << 20)


@dataclass
class Asker:
    """Somebody who asks a text twenty times a second."""

    url: str
    times: list[float] = field(default_factory=list)
    failures: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.ended.wait(0.05):
                began = time.perf_counter()
                good = client.post("/predict", json={"text": "where is my card"}).status_code == 200
                self.times.append((time.perf_counter() - began) * 1000)
                self.failures += not good

    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)] if self.times else 0.0


@contextmanager
def asking(url: str) -> Iterator[Asker]:
    asker = Asker(url)
    thread = threading.Thread(target=asker.run)
    thread.start()
    try:
        yield asker
    finally:
        asker.ended.set()
        thread.join()


def raw(address: Address, pieces: Iterator[bytes] | list[bytes], pause: float = 0.0) -> str:
    """The status line that comes back for bytes that are sent as they are; what happens where none does."""
    try:
        with socket.create_connection((address.host, address.port), timeout=30) as connection:
            with suppress(ConnectionError):  # it answers and closes before all is sent
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
            answer = connection.recv(4096)
    except ConnectionError:
        return "closed"
    return answer[9:12].decode() if answer else "closed"


def declared(address: Address, megabytes: int) -> str:
    head = HEAD + f"Content-Length: {megabytes << 20}\r\n\r\n".encode()
    return raw(address, [head, *[MEGABYTE] * megabytes])


def chunked(address: Address, megabytes: int) -> str:
    chunk = b"%x\r\n" % len(MEGABYTE) + MEGABYTE + b"\r\n"
    return raw(address, [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * megabytes, b"0\r\n\r\n"])


def deep(address: Address, depth: int) -> str:
    body = b'{"text":' + b"[" * depth + b"]" * depth + b"}"
    return raw(address, [HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body])


def big_head(address: Address, size: int) -> str:
    return raw(address, [b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * size + b"\r\n\r\n"])


def slow(address: Address, count: int) -> str:
    """So many bodies at once that arrive a byte a second."""
    found: list[str] = []
    pieces = [HEAD + b"Content-Length: 100\r\n\r\n", *[b"{"] * 8]
    threads = [threading.Thread(target=lambda: found.append(raw(address, pieces, pause=1.0))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ", ".join(sorted(set(found)))


def idle(address: Address, count: int) -> str:
    """So many connections that say nothing, or half a head."""
    sockets = [socket.create_connection((address.host, address.port)) for _ in range(count)]
    for half in sockets[::2]:
        half.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    ends = time.monotonic() + 20
    closed = 0
    for connection in sockets:
        connection.settimeout(max(0.01, ends - time.monotonic()))
        try:
            closed += connection.recv(1) in (b"", b"H")
        except TimeoutError:
            pass
        except ConnectionError:
            closed += 1
        connection.close()
    return f"{closed} of {count} closed within 20 s"


def two_lengths(address: Address, _: int) -> str:
    return raw(address, [HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])


ATTACKS: list[tuple[str, Callable[[Address, int], str], int, int]] = [  # with the size of the quick run
    ("a body of 200 MB", declared, 200, 20),
    ("200 MB in chunks", chunked, 200, 20),
    ("a head of 1 MB", big_head, 1_000_000, 1_000_000),
    ("JSON 200,000 deep", deep, 200_000, 200_000),
    ("two lengths", two_lengths, 0, 0),
    ("50 bodies, a byte a second", slow, 50, 5),
    ("1,000 idle connections", idle, 1000, 100),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small attacks, no result file")
    options = parser.parse_args()
    table = Table("Hostile requests", ("attack", "answer", "memory", "others' p99", "others failed"))
    with tempfile.TemporaryDirectory(prefix="rebert-hostile-") as folder:
        settings, bundle = tiny_bundle(Path(folder), 1)
        with small_endpoint(settings, bundle) as endpoint, attacker() as elsewhere:
            attacks = (attacked(endpoint, elsewhere, *attack, quick=options.quick) for attack in ATTACKS)
            rows = [usual(endpoint), *attacks]
    for row in rows:
        table.add(*row.values())
    table.show()
    if not options.quick:
        write_result("hostile", {"machine": machine(), "goal": GOAL, "attacks": rows}, [table])


@contextmanager
def attacker() -> Iterator[Executor]:
    """A process that has been started: in ours an attack would hold up whoever else asks."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        elsewhere.submit(time.sleep, 0).result()
        yield elsewhere


def usual(endpoint: EndpointProcess) -> dict[str, object]:
    with asking(endpoint.address.url) as asker:
        time.sleep(WATCHED_SECONDS)
    return {"attack": "none", "answer": "200", "memory": "", "p99": f"{asker.p99():.1f} ms", "failed": asker.failures}


def attacked(
    endpoint: EndpointProcess,
    elsewhere: Executor,
    name: str,
    attack: Callable[[Address, int], str],
    size: int,
    quick_size: int,
    *,
    quick: bool,
) -> dict[str, object]:
    process = psutil.Process(endpoint.process.pid)
    before = process.memory_info().rss
    began = time.monotonic()
    with asking(endpoint.address.url) as asker:
        try:
            answer = elsewhere.submit(attack, endpoint.address, quick_size if quick else size).result()
        except (OSError, http.client.HTTPException) as error:
            answer = type(error).__name__
        more = process.memory_info().rss - before
        time.sleep(max(0.0, WATCHED_SECONDS - (time.monotonic() - began)))  # the others must have asked often enough
    p99 = f"{asker.p99():.1f} ms"
    return {"attack": name, "answer": answer, "memory": f"{more / 1e6:+.1f} MB", "p99": p99, "failed": asker.failures}


if __name__ == "__main__":
    main()
