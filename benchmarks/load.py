"""Requests over HTTP from a process of its own: so many clients that ask again at once, or so many requests a second.

    python benchmarks/load.py --port 3000 --clients 8 --seconds 5 < bodies.json
    python benchmarks/load.py --port 3000 --rate 4000 --seconds 60 < bodies.json

Reads {"path": ..., "bodies": [...]} and prints one line of JSON with every status, the latencies in milliseconds (in
the open loop from the moment when the request was due) and what it cost this process. It sends bytes that are made
beforehand and looks at a response's status and length only, so that it takes little of the cores that it shares.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

MOST_CONNECTIONS = 6000


class Connection(asyncio.Protocol):
    """One connection that has at most one request under way."""

    def __init__(self, done: Callable[[Connection, int, float], None]) -> None:
        self.done = done
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.due = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, due: float) -> None:
        self.busy, self.due = True, due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        if self._is_whole():
            status, self.buffer, self.busy = int(self.buffer[9:12]), b"", False
            self.done(self, status, time.perf_counter() - self.due)

    def _is_whole(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.buffer[:end].lower()
        place = head.find(b"content-length:")
        if place < 0:
            return self.buffer.endswith(b"0\r\n\r\n")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0])
        return len(self.buffer) >= end + 4 + length

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.busy:
            self.busy = False
            self.done(self, 0, time.perf_counter() - self.due)


class Load:
    """What was sent and what came back; `answers` are (second of the request, status, latency)."""

    def __init__(self, options: argparse.Namespace, requests: Iterator[bytes]) -> None:
        self.options = options
        self.requests = requests
        self.answers: list[tuple[float, int, float]] = []
        self.unsent = 0
        self.began = 0.0
        self.ends = 0.0
        self.free: deque[Connection] = deque()
        self.finished = asyncio.Event()

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self.done), "127.0.0.1", self.options.port)
        return connection

    def done(self, connection: Connection, status: int, seconds: float) -> None:
        self.answers.append((connection.due - self.began, status, seconds * 1000))
        closed = connection.transport is None or connection.transport.is_closing()
        if self.options.rate or closed:
            if not closed:
                self.free.append(connection)
        elif time.perf_counter() < self.ends:
            connection.ask(next(self.requests), time.perf_counter())
        else:
            self.finished.set()

    async def closed_loop(self) -> None:
        connections = [await self.connect() for _ in range(self.options.clients)]
        self._start()
        for connection in connections:
            connection.ask(next(self.requests), time.perf_counter())
        await asyncio.sleep(self.options.seconds)
        while any(connection.busy for connection in connections) and time.perf_counter() < self.ends + 30:
            await asyncio.sleep(0.01)

    async def open_loop(self) -> None:
        connections = [await self.connect() for _ in range(64)]
        self.free.extend(connections)
        self._start()
        sent = 0
        while (now := time.perf_counter()) < self.ends:
            while sent < (now - self.began) * self.options.rate:
                due = self.began + sent / self.options.rate
                sent += 1
                if not self.free and len(connections) < MOST_CONNECTIONS:
                    connections.append(await self.connect())
                    self.free.append(connections[-1])
                if self.free:
                    self.free.popleft().ask(next(self.requests), due)
                else:
                    self.unsent += 1
            await asyncio.sleep(0.001)
        while any(connection.busy for connection in connections) and time.perf_counter() < self.ends + 30:
            await asyncio.sleep(0.01)

    def _start(self) -> None:
        self.began = time.perf_counter()
        self.ends = self.began + self.options.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: each client asks again at once")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order = json.load(sys.stdin)
    requests = itertools.cycle([_request(order["path"], body) for body in order["bodies"]])
    load = Load(options, requests)
    asyncio.run(load.open_loop() if options.rate else load.closed_loop())
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "statuses": Counter(status for _, status, _ in load.answers),
                "answers": [(round(when, 4), status, round(ms, 3)) for when, status, ms in load.answers],
                "unsent": load.unsent,
                "seconds": options.seconds,
                "own_cpu_seconds": used.ru_utime + used.ru_stime,
            }
        )
    )


def _request(path: str, body: object) -> bytes:
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


if __name__ == "__main__":
    main()
