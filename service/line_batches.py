"""`POST /batch`: many rows as JSON lines in, an answer a line out, as they are ready.

The lines are kept in a temporary file first: a client that sends all before it reads would otherwise wait for us while
we wait for it. Rows are asked in slices, so that other requests get in between, and a full queue is waited for.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import IO, Any

from components.task_types import Row
from service.answering import Answering, largest_body
from service.engine import Engine
from service.entry import Entry
from service.guard import Receive, Reply, Scope, header
from service.problems import Problem, line_too_long, not_one_row, too_many, wrong_lines
from service.requests import Asked
from service.window_queue import Answered

MOST_BYTES = 256 << 20  # of a body
IN_MEMORY = 1 << 20  # of it; the rest is on the disk
AT_ONCE = 2  # bodies at work
ROWS_TOGETHER = 32
PATIENCE_SECONDS = 120.0  # for the queue to have room
PAUSE_SECONDS = 0.25
LINES = (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines")
MEDIA_TYPE = "application/x-ndjson"


class LineBatches:
    """Answers bodies of many lines.

    Args:
        answering: asks the model.
        note: has a slice of a body written into the request log.
    """

    def __init__(self, answering: Answering, note: Callable[[str, int, float, Entry], None]) -> None:
        self.answering = answering
        self.note = note
        self.at_work = 0

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /batch`."""
        self.answering.engine()
        kind = header(scope, b"content-type").split(b";")[0].strip().lower()
        if kind not in LINES or header(scope, b"content-encoding") not in (b"", b"identity"):
            raise wrong_lines()
        if self.at_work >= AT_ONCE:
            raise too_many("batches")
        self.at_work += 1
        file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the stream closes it
        try:
            await self.answering.bodies.spool(scope, receive, MOST_BYTES, file)
        except BaseException:
            self._end(file)
            raise
        file.seek(0)
        return Reply(b"", MEDIA_TYPE, stream=self._stream(scope, receive, file))

    def _end(self, file: IO[bytes]) -> None:
        file.close()
        self.at_work -= 1

    async def _stream(self, scope: Scope, receive: Receive, file: IO[bytes]) -> AsyncIterator[bytes]:
        """The answers to all lines, until the client leaves."""
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            lines = self._lines(file)
            while (some := tuple(islice(lines, ROWS_TOGETHER))) and not gone.done():
                yield await self._answers(scope, some)
        finally:
            gone.cancel()
            self._end(file)

    def _lines(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number from 1; of one that is too long only its beginning."""
        most = largest_body(self.answering.engine().release.serving, rows=1)
        number = 0
        while line := file.readline(most + 1):
            number += 1
            whole = line
            while not whole.endswith(b"\n") and (whole := file.readline(most + 1)):
                pass
            if line.strip():
                yield number, line

    async def _answers(self, scope: Scope, lines: tuple[tuple[int, bytes], ...]) -> bytes:
        engine = self.answering.engine()
        said: dict[int, dict[str, Any]] = {}
        asked: dict[int, Asked] = {}
        for number, line in lines:
            try:
                asked[number] = _read(engine, line)
            except Problem as problem:
                said[number] = problem.content()
        if asked:
            said |= await self._ask(scope, asked)
        ordered = ({"line": number, **said[number]} for number, _ in lines)
        return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ordered).encode()

    async def _ask(self, scope: Scope, asked: dict[int, Asked]) -> dict[int, dict[str, Any]]:
        """What is said to each row, by its line."""
        numbers, rows = list(asked), [row for one in asked.values() for row in one.rows]
        said: dict[int, dict[str, Any]] = {}
        for part in self.answering.slices(rows, ROWS_TOGETHER):
            said |= await self._ask_together(scope, {number: asked[number] for number in numbers[part]})
        return said

    async def _ask_together(self, scope: Scope, asked: dict[int, Asked]) -> dict[int, dict[str, Any]]:
        """What is said to rows that share a turn; one of them that cannot be answered spoils no other."""
        rows, began = [row for one in asked.values() for row in one.rows], time.perf_counter()
        try:
            answered = await self._patiently(rows)
        except Problem as problem:
            if len(asked) == 1 or problem.status not in (422, 500):
                return dict.fromkeys(asked, problem.content())
            alone = [await self._ask_together(scope, {number: one}) for number, one in asked.items()]
            return {number: said for each in alone for number, said in each.items()}
        return self._said(scope["entry"], asked, answered, began)

    def _said(
        self, whole: Entry, asked: dict[int, Asked], answered: Answered[Engine], began: float
    ) -> dict[int, dict[str, Any]]:
        """The answers by line; counted, and written into the request log as a part of the body's request."""
        engine, version = answered.engine, answered.engine.release.version
        self.answering.metrics.read(answered.windows)
        whole.version, whole.parts = version, whole.parts + 1
        rows = [row for one in asked.values() for row in one.rows]
        entry = Entry(whole.id, whole.client, version, rows, answered=answered, part=whole.parts)
        predictions = [
            self.answering.present(entry, engine, [answer], one.top_k)[0]
            for one, answer in zip(asked.values(), answered.answers, strict=True)
        ]
        entry.predictions = predictions
        self.note("/batch", 200, time.perf_counter() - began, entry)
        return {
            number: {"version": version, "prediction": prediction}
            for number, prediction in zip(asked, predictions, strict=True)
        }

    async def _patiently(self, rows: list[Row]) -> Answered[Engine]:
        """The answers to rows, asked again while the queue is full."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + PATIENCE_SECONDS
        while True:
            try:
                return await self.answering.ask(rows, self.answering.engine().release.serving.timeout_seconds)
            except Problem as problem:
                if problem.status not in (429, 503) or loop.time() > ends:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)


def _read(engine: Engine, line: bytes) -> Asked:
    limits = engine.release.serving
    if len(line) > largest_body(limits, rows=1):
        raise line_too_long(largest_body(limits, rows=1))
    asked = engine.requests.read(line, limits)
    if len(asked.rows) != 1:
        raise not_one_row()
    return asked


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
