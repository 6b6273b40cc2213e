"""Requests in, responses out: bodies bounded in size, time and number, and one answer whatever happens."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import IO, Any

from service.entry import Entry
from service.problems import (
    Problem,
    body_too_large,
    body_too_slow,
    no_room,
    not_spooled,
    own_fault,
    too_busy,
    two_lengths,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_SECONDS = 5.0  # for a whole body to arrive
LONG_BODY_SECONDS = 600.0  # for one that goes into a file, in which no piece may take longer than BODY_SECONDS
MOST_BODY_BYTES = 8 << 20  # of one request, whatever its texts may be
MOST_ARRIVING_BYTES = 64 << 20  # of all bodies that are arriving now
DISCARDED_BYTES = 32 << 20  # of a body too large, read and dropped so that the client gets to see the answer
DISCARD_SECONDS = 1.0

JSON = "application/json"
# Nothing here is for a browser to embed, guess at or keep.
SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its body, media type, status and further headers; a stream's pieces come before the body."""

    body: bytes
    media_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


class ClientGone(Exception):
    """The client left before its request was complete; there is nobody to answer."""


class BodyReader:
    """Reads request bodies within bounds that hold for each and for all together."""

    def __init__(self) -> None:
        self.arriving = 0

    async def read(self, scope: Scope, receive: Receive, limit: int) -> bytes:
        """The body of a request.

        Raises:
            Problem: 400 for one of two lengths, 413 for one over `limit` bytes, 408 for a slow one, 503 when too
                much arrives at once.
            ClientGone: the client left.
        """
        if header(scope, b"content-length") and header(scope, b"transfer-encoding"):
            raise two_lengths()  # a proxy before us may have read the other one
        if _declared_length(scope) > limit:
            await _discard(receive)
            raise body_too_large(limit)
        held = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
                chunks: list[bytes] = []
                while True:
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk = message.get("body", b"")
                    held += len(chunk)
                    self.arriving += len(chunk)
                    if held > limit:
                        chunks.clear()
                        await _discard(receive)
                        raise body_too_large(limit)
                    if self.arriving > MOST_ARRIVING_BYTES:
                        raise no_room()
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
                    message = await receive()
        except TimeoutError:
            raise body_too_slow(BODY_SECONDS) from None
        finally:
            self.arriving -= held

    async def spool(self, scope: Scope, receive: Receive, limit: int, file: IO[bytes]) -> None:
        """Write a long body into a file; it may take long while something comes.

        Raises:
            Problem: 400 for one of two lengths, 413 for one over `limit` bytes, 408 for one that stands still, 503
                where the disk does not take it.
            ClientGone: the client left.
        """
        if header(scope, b"content-length") and header(scope, b"transfer-encoding"):
            raise two_lengths()
        if _declared_length(scope) > limit:
            await _discard(receive)
            raise body_too_large(limit)
        left, ends = limit, time.monotonic() + LONG_BODY_SECONDS
        while True:
            try:
                async with asyncio.timeout(min(BODY_SECONDS, ends - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise body_too_slow(BODY_SECONDS if time.monotonic() < ends else LONG_BODY_SECONDS) from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            left -= len(message.get("body", b""))
            if left < 0:
                await _discard(receive)
                raise body_too_large(limit)
            try:
                file.write(message.get("body", b""))
            except OSError as error:
                log.error("A body could not be put aside: %s.", error.strerror)  # noqa: TRY400
                raise not_spooled() from None
            if not message.get("more_body"):
                return


def _declared_length(scope: Scope) -> int:
    declared = header(scope, b"content-length")
    return int(declared) if declared.isdigit() else 0


async def _discard(receive: Receive) -> None:
    """Read what still comes, for a while: a client that is cut off while it sends never reads why."""
    left = DISCARDED_BYTES
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) or 1
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a request header by its lower-case name; empty where it is not there."""
    return next((value for key, value in scope["headers"] if key == name), b"")


class Guard:
    """An ASGI application around `handle`, which turns a request into a reply or raises a `Problem`.

    Args:
        handle: the pages; anything that it raises but a Problem is answered with 500 and logged by its type only.
        observe: told the scope, status and seconds of every answered request; what is known of the request beside
            stands in the scope as its `entry`.
    """

    def __init__(
        self,
        handle: Callable[[Scope, Receive], Awaitable[Reply]],
        observe: Callable[[Scope, int, float], None],
    ) -> None:
        self.handle = handle
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        scope["entry"] = entry = Entry(uuid.uuid4().hex[:16])
        try:
            reply = await self.handle(scope, receive)
        except Problem as problem:
            reply = _refusal(problem)
        except ClientGone:
            return
        except Exception as error:
            _log_fault(error)
            reply = _refusal(own_fault())
        try:
            await _respond(send, reply, entry.id)
        finally:
            self.observe(scope, reply.status, time.perf_counter() - started)


def _log_fault(error: Exception) -> None:
    # Neither the message nor the traceback's values: both may hold a text that somebody sent.
    log.error("A request failed: %s in %s", type(error).__name__, _where(error))


def _refusal(problem: Problem) -> Reply:
    return Reply(problem.body(), JSON, problem.status, problem.headers)


def busy_response(seconds: int) -> bytes:
    """The refusal of a request that may come again after so many seconds, as bytes; made once but for its id."""
    before, after = _busy_parts(seconds)
    return before + os.urandom(8).hex().encode() + after


@cache
def _busy_parts(seconds: int) -> tuple[bytes, bytes]:
    before, _, after = whole_response(too_busy(seconds), "{id}").partition(b"{id}")
    return before, after


def whole_response(problem: Problem, request: str) -> bytes:
    """A refusal of a request with this id as the bytes of its response."""
    body = problem.body()
    own = {"content-type": JSON, "content-length": str(len(body)), "x-request-id": request, **problem.headers}
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in SAFE]
    lines += [f"{name}: {value}".encode() for name, value in own.items()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _where(error: BaseException) -> str:
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_name}, line {last.tb_lineno}" if last else "an unknown place"


async def _respond(send: Send, reply: Reply, request: str) -> None:
    length = [] if reply.stream else [(b"content-length", str(len(reply.body)).encode())]
    headers = [
        (b"content-type", reply.media_type.encode()),
        *length,
        *SAFE,
        (b"x-request-id", request.encode()),
        *((name.encode(), value.encode()) for name, value in reply.headers.items()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.stream:
        try:
            async for piece in reply.stream:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception as error:  # the server below would log its message
            _log_fault(error)
            return  # without an end: the server cuts the connection, and the client sees that lines are missing
    await send({"type": "http.response.body", "body": reply.body})
