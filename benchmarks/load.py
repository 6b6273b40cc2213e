"""Requests over HTTP from a process of its own: so many clients that ask again at once, or so many requests a second.

    python benchmarks/load.py --port 3000 --clients 8 --seconds 5 < bodies.json
    python benchmarks/load.py --port 3000 --rate 4000 --seconds 60 < bodies.json

Reads {"path": ..., "bodies": [...]} and prints one line of JSON with every status, the latencies in milliseconds (in
the open loop from the moment when the request was due) and what it cost this process. It sends bytes that are made
beforehand and looks at a response's status and length only, so that it takes little of the cores that it shares.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import resource
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator

MOST_CONNECTIONS = 6000
LAST_SECONDS = 30  # for answers that are still to come when the time is over


class Connection:
    """One connection that has at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.due = 0.0
        self.busy = False

    def ask(self, request: bytes, due: float) -> None:
        self.busy, self.due = True, due
        with contextlib.suppress(OSError):  # a closed socket says so by itself
            self.socket.sendall(request)

    def read(self) -> int | None:
        """The status of a whole response, 0 where the connection is gone; None while more is to come."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return 0
        self.buffer = self.buffer + data if self.buffer else data
        if not _is_whole(self.buffer):
            return None
        status, self.buffer = int(self.buffer[9:12]), b""
        return status


def _is_whole(buffer: bytes) -> bool:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = buffer[:end].lower()
    place = head.find(b"content-length:")
    if place < 0:
        return buffer.endswith(b"0\r\n\r\n")
    return len(buffer) >= end + 4 + int(head[place + 15 :].split(b"\r\n", 1)[0])


class Load:
    """What was sent and what came back; `answers` are (second of the request, status, milliseconds).

    Plain sockets and epoll: asyncio would cost a tenth of a millisecond a request, which the servers would miss.
    """

    def __init__(self, options: argparse.Namespace, requests: Iterator[bytes]) -> None:
        self.options = options
        self.requests = requests
        self.answers: list[tuple[float, int, float]] = []
        self.unsent = 0
        self.poll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.free: deque[Connection] = deque()
        for _ in range(64 if options.rate else options.clients):
            self.connect()
        self.began = time.perf_counter()
        self.ends = self.began + options.seconds

    def connect(self) -> None:
        connection = Connection(self.options.port)
        self.connections[connection.socket.fileno()] = connection
        self.poll.register(connection.socket.fileno(), select.EPOLLIN)
        self.free.append(connection)

    def run(self) -> None:
        """Send and receive until the time is over and all answers are there."""
        sent = busy = 0
        while (now := time.perf_counter()) < self.ends or (busy and now < self.ends + LAST_SECONDS):
            if now < self.ends:
                wanted = int((now - self.began) * self.options.rate) if self.options.rate else sent + len(self.free)
                for number in range(sent, wanted):
                    busy += self._send(self.began + number / self.options.rate if self.options.rate else now)
                sent = wanted
            for descriptor, _ in self.poll.poll(0.001 if self.options.rate else 0.05):
                busy -= self._receive(descriptor)

    def _send(self, due: float) -> int:
        if not self.free and self.options.rate and len(self.connections) < MOST_CONNECTIONS:
            self.connect()
        if not self.free:
            self.unsent += 1
            return 0
        self.free.popleft().ask(next(self.requests), due)
        return 1

    def _receive(self, descriptor: int) -> int:
        connection = self.connections[descriptor]
        status = connection.read()
        if status is None:
            return 0
        was_busy, connection.busy = connection.busy, False
        if was_busy:
            now = time.perf_counter()
            self.answers.append((connection.due - self.began, status, (now - connection.due) * 1000))
        if status:
            self.free.append(connection)
            return 1
        self.poll.unregister(descriptor)
        connection.socket.close()
        del self.connections[descriptor]
        if connection in self.free:
            self.free.remove(connection)
        if not self.options.rate and time.perf_counter() < self.ends:
            self.connect()
        return int(was_busy)


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
    load.run()
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
