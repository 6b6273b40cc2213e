"""The pages of the endpoint as one plain ASGI application: a table of paths, and what each answers."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from components.serving.places import Places
from service import pages
from service.access import Access
from service.answering import Answering, json_reply, largest_body
from service.corrections import Corrections
from service.entry import Entry
from service.explaining import Explaining
from service.guard import Guard, Receive, Reply, Scope, Send, busy_response
from service.line_batches import LineBatches
from service.metrics import Metrics
from service.openapi import Abilities, describe
from service.problems import no_such_page, not_ready, wrong_method
from service.request_log import RequestLog

PREDICT = "/predict"
Page = Callable[[], Reply]
Ask = Callable[[Scope, Receive], Awaitable[Reply]]


class Application:
    """The endpoint of one model. Call `start` before the first request and `stop` after the last.

    Args:
        source: `src` folder of the bundle to serve.
        places: files outside the bundle that are followed and written; by default none.
    """

    def __init__(self, source: Path, places: Places | None = None) -> None:
        self.places = places or Places()
        self.metrics = Metrics()
        self.answering = Answering(source, self.metrics, self.places)
        self.live, self.batcher = self.answering.live, self.answering.batcher
        self.corrections = Corrections(self.answering, self.places.feedback)
        self.access = Access(self.places.keys, required=self.places.keys_required)
        self.log = RequestLog(self.places.requests)
        self.metrics.unlogged.set_function(lambda: self.log.lost)
        self.turned_away = 0  # by `refuse`, since the metrics were last read: a sum is cheaper than a counter
        self.guard = Guard(self._handle, self._observe)
        self.open_pages: dict[str, Page] = {**pages.PAGES, "/livez": self._livez, "/readyz": self._readyz}
        self.pages: dict[str, Page] = {
            **self.open_pages,
            "/model": self._model,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
        }
        self.asked: dict[str, Ask] = {
            PREDICT: self.answering.predict,
            "/batch": LineBatches(self.answering, self._note).answer,
            "/explain": Explaining(self.answering).explain,
            "/feedback": self.corrections.take,
        }

    def start(self) -> None:
        """Load the model and start answering.

        Raises:
            BundleError: the bundle is damaged or does not give its model's answers.
        """
        self.answering.start(self.places.release)
        self.log.start()
        faulthandler.cancel_dump_traceback_later()  # which says where a start hangs
        gc.freeze()  # torch and transformers are a million objects: looking through them would stop all for 0.2 s

    def stop(self) -> None:
        """Answer what is queued, then end all threads."""
        self.answering.stop()
        self.log.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: http is answered, a websocket is refused."""
        if scope["type"] == "http":
            self.metrics.at_work += 1
            try:
                await self.guard(scope, receive, send)
            finally:
                self.metrics.at_work -= 1
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send, self.start, self.stop)

    def refuse(self, url: bytes) -> bytes | None:
        """The whole response to a POST that cannot be answered in time, for connections that ask before all else."""
        now = self.live.current
        if now is None or url != PREDICT.encode():
            return None
        seconds = self.batcher.lack_of_room(now.release.serving.timeout_seconds)
        if seconds is None:
            self.batcher.expect()
            return None
        self.turned_away += 1
        return busy_response(max(1, round(seconds)))

    async def _handle(self, scope: Scope, receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        if path not in self.open_pages:
            scope["entry"].client = self.access.admit(scope)
        if path in self.asked:
            if method != "POST":
                raise wrong_method("POST")
            return await self.asked[path](scope, receive)
        if path not in self.pages:
            raise no_such_page()
        if method not in ("GET", "HEAD"):
            raise wrong_method("GET, HEAD")
        return self.pages[path]()

    def _model(self) -> Reply:
        refused = self.live.refused
        engine = self.answering.engine()
        corrections = self.corrections.kept and engine.forms.correction is not None
        beside = {"corrections": corrections, "refused": asdict(refused) if refused else None}
        return json_reply({**engine.about(), **beside, "trial": self.answering.trials.state()})

    def _livez(self) -> Reply:
        if self.live.current is not None and not self.answering.works:
            raise not_ready()
        return json_reply({"alive": True})

    def _readyz(self) -> Reply:
        return json_reply({"ready": True, "version": self.answering.engine().release.version})

    def _metrics(self) -> Reply:
        now, turned_away, self.turned_away = self.live.current, self.turned_away, 0
        if now and turned_away:
            self.metrics.turned_away(PREDICT, now.release.name, str(now.release.version), turned_away)
        return Reply(self.metrics.text(), self.metrics.content_type)

    def _openapi(self) -> Reply:
        engine = self.answering.engine()
        return json_reply(describe(engine, Abilities(largest_body(engine.release.serving), self.corrections.kept)))

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        path, entry, now = scope["path"], scope["entry"], self.live.current
        page = path if path in self.asked or path in self.pages else "other"
        name, live = (now.release.name, now.release.version) if now else ("", "")
        version = str(entry.version or live)
        self.metrics.count(page, name, version, status, seconds)
        if path in self.asked:
            self._note(page, status, seconds, entry)

    def _note(self, page: str, status: int, seconds: float, entry: Entry) -> None:
        now = self.live.current
        if now and now.release.serving.log_requests:
            entry.version = entry.version or now.release.version
            self.log.note(page, status, seconds, entry, now.release.serving)


async def _lifespan(receive: Receive, send: Send, start: Callable[[], None], stop: Callable[[], None]) -> None:
    await receive()
    start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(stop)  # waiting requests are answered by this loop meanwhile
    await send({"type": "lifespan.shutdown.complete"})
