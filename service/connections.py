"""Uvicorn's connections: none stays open without asking or reading, and what cannot be answered costs next to nothing.

A refusal that goes all the way through tasks, messages and pages costs a third of an answer: under four times the load
that can be answered, most of the time would go into saying no. Here it is one write; of a request that comes whole, as
clients send it, not even the parser is asked.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0  # for a whole head to arrive, from the opening or from the last answer; and for a refused body
WRITE_SECONDS = 30.0  # for a client to read, while no more can be written to it
MOST_UNREAD_BYTES = 64 << 10  # of refusals; the application waits by itself until its client has read
MOST_HEAD_BYTES = 64 << 10
# While requests are refused, the loop waits so long before it looks at its sockets again: what came meanwhile is
# refused in one go, instead of taking a core away from the model for each. It waits without Python's lock.
BREATH_SECONDS = 0.005
MOST_REFUSED_BYTES = 64 << 10  # of the body of a request that is refused here; a larger one takes the long way
# A head that says nothing about how it is to be read but the length of its body, once. Source: RFC 9110, 5.1 and 5.5.
_TELLING = rb"content-length|transfer-encoding|expect|upgrade|connection:(?! ?keep-alive\r)"
_HEADERS = rb"(?:(?!%b)[\w!#$%%&'*+.^`|~-]+:[^\r\n\0]*\r\n)*" % _TELLING
PLAIN_POST = re.compile(
    rb"POST (/[!-~]*) HTTP/1\.1\r\n%bcontent-length: ?(\d{1,5})\r\n%b\r\n" % (_HEADERS, _HEADERS), re.IGNORECASE
)


class OneWrite:
    """A connection as a response writes to it: its head waits for what follows, so that both are one packet."""

    __slots__ = ("head", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.head: bytes | None = None

    def write(self, data: bytes) -> None:
        """The head, then the body or a piece of it, which may be empty."""
        if self.head is None:
            self.head = data
        else:
            self.transport.write(self.head + data)
            self.head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection that sends no whole head in time, or reads nothing; and says no for the application.

    `refuse` gets the address and is asked when the head of a POST is there; it gives the response to write, or None.
    """

    refuse: ClassVar[Callable[[bytes], bytes | None]] = staticmethod(lambda _url: None)
    draws_breath: ClassVar[bool] = False  # once the loop comes to it
    others_come: ClassVar[bool] = False  # a connection was accepted; the loop takes one each time it looks
    head_timer: asyncio.TimerHandle | None = None
    head_ends = inf  # when the next head must be there, by the loop's clock; never while a request is at work
    head_bytes = 0
    between = True  # the parser has seen the end of a request, and no beginning since
    refusal: bytes | None = None
    write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        PatientProtocol.others_come = True
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clocks."""
        super().connection_lost(exc)
        self._forget_writing()
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: it has a while, then whatever waits for it goes on."""
        super().pause_writing()
        self._forget_writing()
        self.write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._forget_writing()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.head_bytes = 0
        self.between = False

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header; httptools keeps what has no end yet, which `data_received` watches."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def data_received(self, data: bytes) -> None:
        """Bytes of heads and bodies."""
        ends = self.head_ends
        if self.between and ends < inf and (refusal := self._refusal_of(data)):
            self._write_refusal(refusal)
            return
        super().data_received(data)
        same_head = ends == self.head_ends < inf and self.refusal is None
        if same_head and not self.transport.is_closing():
            self.head_bytes += len(data)
            if self.head_bytes > 2 * MOST_HEAD_BYTES:  # each may have been counted twice
                self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        """Stop the clock; refuse, or begin to answer."""
        self.head_ends = inf
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.parser.get_method() == b"POST" and self._is_short():
            self.refusal = type(self).refuse(self.url)
        if self.refusal is None:
            super().on_headers_complete()
            if self.parser.get_method() == b"POST" and not self.expect_100_continue:  # after HEAD nothing would follow
                self.cycle.transport = OneWrite(self.transport)  # type: ignore[assignment]
        else:
            self._wait_for_head()  # nobody reads this body, so nobody else times it

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer what is refused, now that the client listens."""
        self.between = True
        if self.refusal is None:
            super().on_message_complete()
            return
        refusal, self.refusal = self.refusal, None
        if self.transport.is_closing():
            return
        self._write_refusal(refusal)
        if not self.parser.should_keep_alive():
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, or start our clock anew; Uvicorn would set another one each time."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._wait_for_head()

    def _refusal_of(self, data: bytes) -> bytes | None:
        """The refusal of what is one whole request and nothing more; None for the parser to read it."""
        plain = PLAIN_POST.match(data) if len(data) <= MOST_REFUSED_BYTES else None
        if plain is None or plain.end() + int(plain[2]) != len(data):
            return None
        return type(self).refuse(plain[1])

    def _write_refusal(self, refusal: bytes) -> None:
        self.transport.write(refusal)
        self.server_state.total_requests += 1
        if not PatientProtocol.draws_breath:
            PatientProtocol.draws_breath = True
            self.loop.call_soon(_draw_breath)
        if self.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            self.transport.abort()  # it asks on and on, and reads nothing
        else:
            self._wait_for_head()

    def _count(self, more: int) -> None:
        self.head_bytes += more
        if self.head_bytes > MOST_HEAD_BYTES:
            raise ValueError("the head of the request is too large")  # becomes a 400

    def _is_short(self) -> bool:
        """Whether the body says that it is short, and waits for no leave."""
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        return not self.expect_100_continue and length.isdigit() and int(length) <= MOST_REFUSED_BYTES

    def _forget_writing(self) -> None:
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None

    def _wait_for_head(self) -> None:
        """Set the time. The timer itself is set once and looks again when it rings: two for each request cost more."""
        if self.transport.is_closing():
            return
        self.head_ends = self.loop.time() + HEAD_SECONDS
        if self.head_timer is None:
            self.head_timer = self.loop.call_at(self.head_ends, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self.head_timer = None
        if self.head_ends <= self.loop.time():
            self.transport.close()
        elif self.head_ends < inf:
            self.head_timer = self.loop.call_at(self.head_ends, self._look_at_clock)


def _draw_breath() -> None:
    others_come, PatientProtocol.others_come = PatientProtocol.others_come, False
    PatientProtocol.draws_breath = False
    if not others_come:
        time.sleep(BREATH_SECONDS)


def refusing(refuse: Callable[[bytes], bytes | None]) -> type[PatientProtocol]:
    """Connections that ask this before they hand a POST on."""
    content: dict[str, Any] = {"refuse": staticmethod(refuse)}
    return type("RefusingProtocol", (PatientProtocol,), content)
