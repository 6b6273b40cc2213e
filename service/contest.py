"""One version on trial: it answers copies of requests or some of the requests, and is judged by how it does."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from components.priority import give_way
from components.serving.trials import Trial
from components.task_types import Row
from service.batching import Batcher
from service.engine import Engine, cores, use_cores
from service.metrics import Metrics
from service.problems import Problem
from service.requests import Asked
from service.window_queue import Answered

MOST_WAITING_COPIES = 256  # rows; beyond, copies are dropped: a shadow must cost the live version nothing
KEPT_TIMES = 200  # of the newest requests, of which the median counts
FEWEST_TIMES = 50
SLOWER = 2.0  # times the live version's median, from which a canary is too slow
SLOWER_SECONDS = 0.005  # and by so much at least
FEWEST_ERRORS = 3
ERROR_SHARE = 0.02
CANARY_SHARE_OF_TIME = 0.5  # of a request's time; the rest is the live version's, if it must answer instead
COPY_SECONDS = 60.0  # for a copy to be answered

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What has happened in a trial."""

    requests: int = 0
    rows: int = 0
    disagreements: int = 0  # rows with another decision than the live version's; of a shadow
    errors: int = 0  # requests without an answer; of a canary, the live version has answered them
    dropped: int = 0  # copies that were not made


class Contest:
    """A loaded version and its queue, with a thread of its own.

    Args:
        trial: what is tried, and how.
        engine: its loaded version.
        metrics: what is counted.
    """

    def __init__(self, trial: Trial, engine: Engine, metrics: Metrics) -> None:
        self.trial = trial
        self.metrics = metrics
        self.engine = engine
        self.batcher: Batcher[Engine] = Batcher(
            lambda: engine,
            lambda engine: engine.predictor,
            lambda *_: None,
            threads=cores() if trial.mode == "canary" else 1,
            prepare=self._prepare,
        )
        self.counts = Counts()
        self.verdict = ""  # why it is over; empty while it goes on
        self.times: deque[float] = deque(maxlen=KEPT_TIMES)
        self.live_times: deque[float] = deque(maxlen=KEPT_TIMES)
        self.copies: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to answer."""
        self.batcher.start()

    def stop(self) -> None:
        """Answer what is queued, then end."""
        self.batcher.stop()

    def state(self) -> dict[str, Any]:
        """What `GET /model` says of it."""
        trial = self.trial
        return {
            "version": trial.version,
            "mode": trial.mode,
            "share": trial.share,
            "state": "ended" if self.verdict else "running",
            "reason": self.verdict,
            **asdict(self.counts),
        }

    async def answer(self, body: bytes, asked: Asked, seconds: float) -> Answered[Engine] | None:
        """A canary's answers to a request; None where the live version shall answer it.

        The same body goes the same way every time: nobody gets two versions' answers in turn.
        """
        if self.verdict or self.trial.mode != "canary" or place_of(body) >= self.trial.share:
            return None
        began, rows = time.monotonic(), asked.rows
        try:
            answered = await self.batcher.ask(rows, seconds * CANARY_SHARE_OF_TIME, self.engine.cost(rows))
            self.engine.present(answered.answers, asked.top_k)  # what it cannot show is no answer either
        except Exception as error:
            if not isinstance(error, Problem):
                log.error("The canary's answer failed: %s", type(error).__name__)  # noqa: TRY400 - it may quote a text
            if not isinstance(error, Problem) or error.status != 429:  # its queue is full: no fault of the version
                self._count(rows, failed=True)
            return None
        self.times.append(time.monotonic() - began)
        self._count(rows)
        return answered

    def observe(self, body: bytes, rows: Sequence[Row], live: Answered[Engine], seconds: float) -> None:
        """The live version has answered a request, in so many seconds; a shadow gets a copy of it."""
        self.live_times.append(seconds)
        if self.verdict or self.trial.mode != "shadow" or place_of(body) >= self.trial.share:
            return
        if self.batcher.waiting_texts + len(rows) > MOST_WAITING_COPIES:
            self.counts.dropped += 1
            self.metrics.dropped_copy(self.trial.mode, self.trial.version)
            return
        task = asyncio.get_running_loop().create_task(self._compare(rows, live))
        self.copies.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self.copies.discard)

    async def _compare(self, rows: Sequence[Row], live: Answered[Engine]) -> None:
        try:
            ours = await self.batcher.ask(rows, COPY_SECONDS, self.engine.cost(rows))
        except Problem:
            self._count(rows, failed=True)
            return
        kind = live.engine.predictor.task_type
        differ = sum(kind.said(one) != kind.said(other) for one, other in zip(ours.answers, live.answers, strict=True))
        self._count(rows, differ)

    def _count(self, rows: Sequence[Row], disagreements: int = 0, *, failed: bool = False) -> None:
        self.counts.requests += 1
        self.counts.rows += len(rows)
        self.counts.disagreements += disagreements
        self.counts.errors += failed
        self.metrics.tried(self.trial.mode, self.trial.version, len(rows), disagreements, failed)
        self.verdict = self.verdict or self._judge()

    def _judge(self) -> str:
        """Why the trial must end; empty where it goes on."""
        errors, requests = self.counts.errors, self.counts.requests
        if errors >= FEWEST_ERRORS and errors > ERROR_SHARE * requests:
            return f"{errors} of {requests} requests got no answer."
        if self.trial.mode == "shadow" or min(len(self.times), len(self.live_times)) < FEWEST_TIMES:
            return ""
        own, live = median(self.times), median(self.live_times)
        if own > SLOWER * live and own > live + SLOWER_SECONDS:
            return f"It took {own * 1000:.1f} ms for a request, the live version {live * 1000:.1f} ms (medians)."
        return ""

    def _prepare(self) -> None:
        use_cores()
        if self.trial.mode == "shadow":
            give_way()


def place_of(body: bytes) -> float:
    """Where a request falls between 0 and 1: evenly, and the same each time."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=6).digest(), "big") / 2**48
