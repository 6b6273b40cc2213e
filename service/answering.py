"""Answers to rows from the live version, or from one on trial: the way there for every page that asks the model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from components.config import Serving
from components.serving.places import Places
from components.task_types import Answer, Row
from service.batching import Batcher
from service.engine import Engine, cores, use_cores
from service.entry import Entry
from service.guard import MOST_BODY_BYTES, BodyReader, Receive, Reply, Scope, header
from service.live import Live, Refused
from service.metrics import Metrics
from service.problems import not_ready, too_costly, wrong_media_type
from service.requests import Asked
from service.trials import Trials
from service.window_queue import Answered

# A character takes at most six bytes in JSON (\uXXXX), one outside the BMP twelve; quotes, commas and keys come on top.
BYTES_OF_A_CHARACTER = 12
BYTES_BESIDE_TEXTS = 4096


class Answering:
    """The live model behind its queue.

    Args:
        source: `src` folder of the bundle to start with.
        metrics: what is counted.
        places: of these, `trial` names a version that is tried beside; `trial_end` is written when it is over.
    """

    def __init__(self, source: Path, metrics: Metrics, places: Places) -> None:
        self.metrics = metrics
        self.live = Live(source, self._went_live, self._refused)
        self.batcher: Batcher[Engine] = Batcher(
            self.live.engine,
            lambda engine: engine.predictor,
            metrics.turned,
            threads=cores() + 1,  # one reads or hands out while the others have all cores compute
            prepare=use_cores,
        )
        metrics.waiting.set_function(lambda: self.batcher.waiting_texts)
        self.trials = Trials(self.live, places.trial, metrics, places.trial_end)
        self.bodies = BodyReader()

    def start(self, release_file: Path | None = None) -> None:
        """Load the model and start answering.

        Raises:
            BundleError: the bundle is damaged or does not give its model's answers.
        """
        use_cores()
        self.live.start(release_file)
        self.batcher.seconds_per_cost = (
            self.live.engine().seconds_per_cost
        )  # the first requests are promised in time too
        self.batcher.start()
        self.trials.start()

    def stop(self) -> None:
        """Answer what is queued, then end."""
        self.live.stop()
        self.trials.stop()
        self.batcher.stop()

    @property
    def works(self) -> bool:
        """Whether the threads that answer are there."""
        return self.batcher.works

    def engine(self) -> Engine:
        """Who answers now.

        Raises:
            Problem: 503 when nobody does.
        """
        if self.live.current is None or not self.works:
            raise not_ready()
        return self.live.current

    async def predict(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /predict`: a request's rows and their answers."""
        engine = self.engine()
        limits = engine.release.serving
        self.batcher.require_room(limits.timeout_seconds)
        began = time.perf_counter()
        body = await self.read_json(scope, receive, limits)
        arrived = time.perf_counter()
        asked = engine.requests.read(body, limits)
        scope["entry"].rows = asked.rows
        understood = time.perf_counter()
        answered = await self._answers(body, asked, limits.timeout_seconds)
        known = time.perf_counter()
        predictions = self.present(scope["entry"], answered.engine, answered.answers, asked.top_k)
        scope["entry"].answered = answered
        self.metrics.read(answered.windows)
        self.metrics.staged(began, arrived, understood, known, time.perf_counter())
        release = answered.engine.release  # a swap may have come in between
        return json_reply({"model": release.name, "version": release.version, "predictions": predictions})

    async def ask(self, rows: Sequence[Row], seconds: float) -> Answered[Engine]:
        """The live version's answers to rows.

        Raises:
            Problem: 422 where they cost the model too much; 429, 500, 503 as of `Batcher.ask`.
        """
        return await self.batcher.ask(rows, seconds, self._cost(rows))

    def slices(self, rows: Sequence[Row], most: int) -> Iterator[slice]:
        """Where to divide rows so that `ask` takes each part: at most so many, and no more than a request may cost."""
        engine, start, cost = self.engine(), 0, 0
        for place, row in enumerate(rows):
            own = engine.cost([row])
            if place > start and (place - start >= most or cost + own > engine.most_cost()):
                yield slice(start, place)
                start, cost = place, 0
            cost += own
        yield slice(start, len(rows))

    async def _answers(self, body: bytes, asked: Asked, seconds: float) -> Answered[Engine]:
        """From a canary where there is one and it is its turn, else from the live version; a shadow gets a copy."""
        rows, ends = asked.rows, time.monotonic() + seconds
        cost, contest = self._cost(rows), self.trials.current
        if contest and (tried := await contest.answer(body, asked, seconds)):
            return tried
        began = time.monotonic()
        answered = await self.batcher.ask(rows, ends - began, cost)  # what the canary has left of the time
        if contest:
            contest.observe(body, rows, answered, time.monotonic() - began)
        return answered

    def _cost(self, rows: Sequence[Row]) -> int:
        engine = self.engine()
        cost = engine.cost(rows)
        if cost > engine.most_cost():
            raise too_costly(cost, engine.most_cost())
        return cost

    async def read_json(self, scope: Scope, receive: Receive, limits: Serving) -> bytes:
        """The body of a request that must be JSON.

        Raises:
            Problem: 415 where it is declared as something else; 400, 408, 413, 503 as of `BodyReader.read`.
        """
        kind = header(scope, b"content-type").split(b";")[0].strip().lower()
        if kind != b"application/json" or header(scope, b"content-encoding") not in (b"", b"identity"):
            raise wrong_media_type()
        return await self.bodies.read(scope, receive, largest_body(limits))

    def present(self, entry: Entry, engine: Engine, answers: Sequence[Answer], top_k: int) -> list[dict[str, Any]]:
        """The answers of a version as a response shows them; they are counted and noted."""
        predictions = engine.present(answers, top_k)
        entry.version, entry.predictions = engine.release.version, predictions
        self._count(engine, answers)
        return predictions

    def _count(self, engine: Engine, answers: Sequence[Answer]) -> None:
        kind = engine.predictor.task_type
        version = str(engine.release.version)
        for answer in answers:
            words = kind.words(kind.said(answer)) if kind.has_labels else ()
            # A request may name labels of its own: they are neither kept nor allowed to make series without end.
            labels = [word if word in engine.manifest.labels else "other" for word in words]
            self.metrics.answered(version, labels, kind.confidence(answer))

    def _went_live(self, engine: Engine) -> None:
        release = engine.release
        self.metrics.went_live(release.name, release.version, release.model_digest)

    def _refused(self, refused: Refused | None) -> None:
        self.metrics.refused.set(1 if refused else 0)


def largest_body(limits: Serving, rows: int | None = None) -> int:
    """Bytes of the largest request body that is read.

    Args:
        rows: that it may hold; None for as many as a request may.
    """
    most = (rows or limits.max_texts) * (limits.max_characters * BYTES_OF_A_CHARACTER + 64) + BYTES_BESIDE_TEXTS
    return min(most, MOST_BODY_BYTES)


def json_reply(content: Mapping[str, Any], status: int = 200) -> Reply:
    """A response of JSON."""
    return Reply(to_json(content), status=status)
