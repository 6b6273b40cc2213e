"""Texts of many requests answered together, by one thread, without waiting for company.

The thread takes what is queued whenever it becomes free: alone, a request starts at once; under load the queue
forms the batches by itself. What cannot be answered in time is refused on arrival, which costs microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from components.task_types import Answer, Row
from components.task_types.base import READING
from service.problems import not_in_time, own_fault, too_busy

Engine = TypeVar("Engine")
MOST_TEXTS_TOGETHER = 64  # in one turn of the thread; the network's own batches are made in inference.py
MOST_TEXTS_WAITING = 4096
SAFE_SHARE = 0.8  # of a request's time that may be spent waiting, by the estimate; what is admitted should be in time
SMOOTHING = 0.2  # weight of the newest turn in the mean cost

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered(Generic[Engine]):
    """Answers in the order of the rows, and who gave all of them."""

    engine: Engine
    answers: list[Answer]


@dataclass(slots=True, eq=False)
class Job(Generic[Engine]):
    """The rows of one request. `deadline` is on the clock of `time.monotonic`, `cost` in characters."""

    rows: Sequence[Row]
    cost: int
    deadline: float
    future: asyncio.Future[Answered[Engine]]


class Batcher(Generic[Engine]):
    """A queue and the thread that empties it.

    Args:
        engine: gives whoever answers now; asked once a turn, so that one request gets one version's answers.
        predict: asks it.
        prepare: called once in the thread before its first turn.
        observe: told of each turn's number of texts and seconds.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        predict: Callable[[Engine, Sequence[Row]], list[Answer]],
        prepare: Callable[[], object],
        observe: Callable[[int, float], None],
    ) -> None:
        self.engine = engine
        self.predict = predict
        self.prepare = prepare
        self.observe = observe
        self.jobs: deque[Job[Engine]] = deque()
        self.news = threading.Condition()
        self.stopping = False
        self.waiting_texts = 0
        self.waiting_cost = 0  # of what is queued or being answered
        self.seconds_per_cost = 0.0
        self.thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Let the thread end after what is queued; waits for it."""
        with self.news:
            self.stopping = True
            self.news.notify()
        if self.thread.ident is not None:
            self.thread.join()

    def require_room(self, timeout_seconds: float) -> None:
        """Refuse a request before anything is spent on it, where even a short text could not be answered in time.

        Raises:
            Problem: 429, with the seconds after which to come again.
        """
        expected = (self.waiting_cost + READING) * self.seconds_per_cost
        late = self.waiting_cost > 0 and expected > SAFE_SHARE * timeout_seconds
        if late or self.waiting_texts >= MOST_TEXTS_WAITING:
            raise too_busy(expected)

    async def ask(self, rows: Sequence[Row], timeout_seconds: float, cost: int) -> Answered[Engine]:
        """The answers to one request's rows, which cost the model about so many characters to read.

        Raises:
            Problem: 429 when they could not be answered in time, 503 when they were not, 500 when the model fails.
        """
        job = self._queue(rows, timeout_seconds, cost)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await job.future
        except TimeoutError:
            raise not_in_time(timeout_seconds) from None

    def _queue(self, rows: Sequence[Row], timeout_seconds: float, cost: int) -> Job[Engine]:
        future: asyncio.Future[Answered[Engine]] = asyncio.get_running_loop().create_future()
        job = Job(rows, cost, time.monotonic() + timeout_seconds, future)
        with self.news:
            expected = (self.waiting_cost + cost) * self.seconds_per_cost
            late = self.waiting_cost > 0 and expected > SAFE_SHARE * timeout_seconds
            if late or self.waiting_texts + len(rows) > MOST_TEXTS_WAITING:
                raise too_busy(expected)
            self.waiting_texts += len(rows)
            self.waiting_cost += cost
            self.jobs.append(job)
            self.news.notify()
        return job

    def _work(self) -> None:
        self.prepare()
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Answer what is queued; False when it is time to stop. Keeps nothing: a replaced model must be let go."""
        turn = self._take()
        started = time.monotonic()
        wanted = [job for job in turn if job.deadline > started and not job.future.cancelled()]
        if wanted:
            self._answer(wanted)
        seconds = time.monotonic() - started
        self._account(turn, wanted, seconds)
        self.observe(sum(len(job.rows) for job in wanted), seconds)
        return bool(turn)

    def _take(self) -> list[Job[Engine]]:
        """The next jobs in their order, together as many texts as go into one turn; none when it is time to stop."""
        with self.news:
            while not self.jobs and not self.stopping:
                self.news.wait()
            turn: list[Job[Engine]] = []
            texts = 0
            while self.jobs and (not turn or texts + len(self.jobs[0].rows) <= MOST_TEXTS_TOGETHER):
                job = self.jobs.popleft()
                turn.append(job)
                texts += len(job.rows)
            self.waiting_texts -= texts
            return turn

    def _answer(self, jobs: list[Job[Engine]]) -> None:
        engine = self.engine()
        try:
            answers = self.predict(engine, [row for job in jobs for row in job.rows])
        except Exception as error:
            self._apart(jobs, error)
            return
        results: list[tuple[Job[Engine], Answered[Engine] | Exception]] = []
        start = 0
        for job in jobs:
            results.append((job, Answered(engine, answers[start : start + len(job.rows)])))
            start += len(job.rows)
        _deliver(results)

    def _apart(self, jobs: list[Job[Engine]], error: Exception) -> None:
        """One request's rows must not spoil the answers of the others: each is asked alone."""
        if len(jobs) > 1:
            for job in jobs:
                self._answer([job])
            return
        log.error("The model failed on a request: %s", type(error).__name__)  # its message may quote the text
        _deliver([(jobs[0], own_fault())])

    def _account(self, turn: list[Job[Engine]], answered: list[Job[Engine]], seconds: float) -> None:
        cost = sum(job.cost for job in answered)
        with self.news:
            self.waiting_cost -= sum(job.cost for job in turn)
            if cost:
                newest = seconds / cost
                old = self.seconds_per_cost or newest
                self.seconds_per_cost = old + SMOOTHING * (newest - old)


def _deliver(results: list[tuple[Job[Engine], Answered[Engine] | Exception]]) -> None:
    """Hand results to the waiting requests in their own thread, all in one call."""

    def hand_over() -> None:
        for job, result in results:
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    with suppress(RuntimeError):  # the loop was closed in the meantime: nobody waits any more
        results[0][0].future.get_loop().call_soon_threadsafe(hand_over)
