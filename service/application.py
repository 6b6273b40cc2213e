"""The pages of the endpoint as one plain ASGI application: a table of paths, and what each answers."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.config import Serving
from service import pages
from service.batching import Batcher
from service.engine import Engine, cores, use_cores
from service.guard import MOST_BODY_BYTES, BodyReader, Guard, Receive, Reply, Scope, Send, header, whole_response
from service.live import Live, Refused
from service.metrics import Metrics
from service.openapi import describe
from service.problems import Problem, no_such_page, not_ready, too_costly, wrong_media_type, wrong_method

PREDICT = "/predict"
# A character takes at most six bytes in JSON (\uXXXX), one outside the BMP twelve; quotes, commas and keys come on top.
BYTES_OF_A_CHARACTER = 12
BYTES_BESIDE_TEXTS = 4096


class Application:
    """The endpoint of one model. Call `start` before the first request and `stop` after the last.

    Args:
        source: `src` folder of the bundle to serve.
    """

    def __init__(self, source: Path) -> None:
        self.metrics = Metrics()
        self.live = Live(source, self._went_live, self._refused)
        self.batcher: Batcher[Engine] = Batcher(
            self.live.engine,
            lambda engine: engine.predictor,
            self.metrics.turned,
            threads=cores(),
            prepare=use_cores,
        )
        self.bodies = BodyReader()
        self.guard = Guard(self._handle, self._observe)
        self.pages: dict[str, Callable[[], Reply]] = {
            "/model": self._model,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            **pages.PAGES,
        }

    def start(self, release_file: Path | None = None) -> None:
        """Load the model and start answering.

        Args:
            release_file: names the bundle to serve from then on; None where nothing shall be watched.

        Raises:
            BundleError: the bundle is damaged or does not give its model's answers.
        """
        use_cores()
        self.live.start(release_file)
        self.batcher.start()
        gc.freeze()  # torch and transformers are a million objects: looking through them would stop all for 0.2 s

    def stop(self) -> None:
        """Answer what is queued, then end both threads."""
        self.live.stop()
        self.batcher.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: http is answered, a websocket is refused."""
        if scope["type"] == "http":
            await self.guard(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send, self.start, self.stop)

    def refuse(self, url: bytes) -> bytes | None:
        """The whole response to a POST that cannot be answered in time, for connections that ask before all else."""
        now = self.live.current
        if now is None or url != PREDICT.encode():
            return None
        try:
            self.batcher.require_room(now.release.serving.timeout_seconds)
        except Problem as problem:
            self._observe(PREDICT, problem.status, 0.0)
            return whole_response(problem)
        return None

    async def _handle(self, scope: Scope, receive: Receive) -> Reply:
        path, method = scope["path"], scope["method"]
        if path == PREDICT:
            if method != "POST":
                raise wrong_method("POST")
            return await self._predict(scope, receive)
        if path not in self.pages:
            raise no_such_page()
        if method not in ("GET", "HEAD"):
            raise wrong_method("GET, HEAD")
        return self.pages[path]()

    async def _predict(self, scope: Scope, receive: Receive) -> Reply:
        engine = self._engine()
        limits = engine.release.serving
        self.batcher.require_room(limits.timeout_seconds)
        _require_json(scope)
        body = await self.bodies.read(scope, receive, largest_body(limits))
        asked = engine.requests.read(body, limits)
        cost = engine.cost(asked.rows)
        if cost > engine.most_cost():
            raise too_costly(cost, engine.most_cost())
        answered = await self.batcher.ask(asked.rows, limits.timeout_seconds, cost)
        engine = answered.engine  # a swap may have come in between
        predictions = engine.present(answered.answers, asked.top_k)
        release = engine.release
        return _json({"model": release.name, "version": release.version, "predictions": predictions})

    def _model(self) -> Reply:
        refused = self.live.refused
        return _json({**self._engine().about(), "refused": asdict(refused) if refused else None})

    def _livez(self) -> Reply:
        if self.live.current is not None and not self.batcher.works:
            raise not_ready()
        return _json({"alive": True})

    def _readyz(self) -> Reply:
        engine = self._engine()
        return _json({"ready": True, "version": engine.release.version})

    def _metrics(self) -> Reply:
        return Reply(self.metrics.text(), self.metrics.content_type)

    def _openapi(self) -> Reply:
        engine = self._engine()
        return _json(describe(engine, largest_body(engine.release.serving)))

    def _engine(self) -> Engine:
        if self.live.current is None or not self.batcher.works:
            raise not_ready()
        return self.live.current

    def _observe(self, path: str, status: int, seconds: float) -> None:
        now = self.live.current
        name, version = (now.release.name, str(now.release.version)) if now else ("", "")
        self.metrics.count(path if path == PREDICT or path in self.pages else "other", name, version, status, seconds)

    def _went_live(self, engine: Engine) -> None:
        release = engine.release
        self.metrics.went_live(release.name, release.version, release.model_digest)

    def _refused(self, refused: Refused | None) -> None:
        self.metrics.refused.set(1 if refused else 0)


def largest_body(limits: Serving) -> int:
    """Bytes of the largest request body that is read."""
    most = limits.max_texts * (limits.max_characters * BYTES_OF_A_CHARACTER + 64) + BYTES_BESIDE_TEXTS
    return min(most, MOST_BODY_BYTES)


def _require_json(scope: Scope) -> None:
    kind = header(scope, b"content-type").split(b";")[0].strip().lower()
    if kind != b"application/json" or header(scope, b"content-encoding") not in (b"", b"identity"):
        raise wrong_media_type()


def _json(content: dict[str, Any]) -> Reply:
    return Reply(json.dumps(content, ensure_ascii=False).encode())


async def _lifespan(receive: Receive, send: Send, start: Callable[[], None], stop: Callable[[], None]) -> None:
    await receive()
    start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(stop)  # waiting requests are answered by this loop meanwhile
    await send({"type": "lifespan.shutdown.complete"})
