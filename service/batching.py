"""Texts of many requests answered together, by a thread more than the machine has cores, without waiting for company.

A request's rows become windows at once. A thread that is free takes windows of like lengths, whoever's they are: alone,
a request starts at once; under load the queue forms the batches by itself. What cannot be answered in time is refused
on arrival, which costs microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic

from components.task_types import Row
from components.task_types.base import READING
from service.problems import Problem, not_in_time, own_fault, too_busy
from service.window_queue import Answered, Batch, Engine, Job, WindowQueue, Work

MOST_TEXTS_WAITING = 4096
MOST_TEXTS_READ = 32  # that a thread makes windows of before it computes something
PATIENCE = 4.0  # a text that costs one second lets those pass that come up to so many seconds later and cost nothing
# Of a request's time that may be spent waiting, by the estimate: a machine that becomes half as fast meanwhile still
# keeps what it has promised, and the queue is long enough to fill every batch.
SAFE_SHARE = 0.5
# And of one that was let in before its texts were known: most of those that come just then must not be turned away
# later, where that costs ten times as much.
LET_IN_SHARE = 0.55
# A thread that comes back from the engine waits so long for Python while another one is busy saying no to requests;
# with Python's 5 ms, the engine would stand still for most of the time under overload.
SWITCH_SECONDS = 0.0005
SMOOTHING = 0.1  # weight of the newest turn in the mean cost

log = logging.getLogger(__name__)


class Batcher(Generic[Engine]):
    """A queue and the threads that empty it.

    Args:
        engine: gives whoever answers now; asked once a request, which gets one version's answers.
        work: what that does for us.
        observe: told of each batch's number of windows and seconds.
        threads: how many to start; the engine must let so many ask it at once.
        prepare: called once in each thread before its first turn.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        work: Callable[[Engine], Work],
        observe: Callable[[int, float], None],
        *,
        threads: int = 1,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self.engine = engine
        self.work = work
        self.observe = observe
        self.prepare = prepare
        self.arrived: deque[Job[Engine]] = deque()
        self.queue = WindowQueue[Engine](self._close)
        self.news = threading.Condition()
        self.stopping = False
        self.waiting_texts = 0
        self.waiting_cost = 0  # of what is queued or being answered
        self.seconds_per_cost = 0.0  # of one thread
        self.usual_cost = float(READING)  # of a request: the median, which few large ones do not move
        self.let_in = 0  # requests that will be queued when the event loop comes to them
        self.loop_lag = 0.0  # seconds that the event loop took to come to the last answers
        self.threads = [
            threading.Thread(target=self._work, name=f"model-{number}", daemon=True) for number in range(threads)
        ]

    @property
    def works(self) -> bool:
        """Whether all threads are there."""
        return all(thread.is_alive() for thread in self.threads)

    def start(self) -> None:
        """Start the threads."""
        sys.setswitchinterval(SWITCH_SECONDS)
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads end after what is queued; waits for them."""
        with self.news:
            self.stopping = True
            self.news.notify_all()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()

    def lack_of_room(self, timeout_seconds: float) -> float | None:
        """Seconds that a usual request would wait, where that is too long for it to be answered in time; else None."""
        expected = self._seconds_of_queue() + (self.let_in + 1) * self.usual_cost * self.seconds_per_cost
        late = self.waiting_cost > 0 and expected > SAFE_SHARE * timeout_seconds
        return expected if late or self.waiting_texts >= MOST_TEXTS_WAITING else None

    def expect(self) -> None:
        """Count a request that was let in and will be queued when the running event loop comes to it."""
        if not self.let_in:
            asyncio.get_running_loop().call_soon(self._forget_let_in)
        self.let_in += 1

    def _forget_let_in(self) -> None:  # its place in the loop is before those of the requests that were counted
        self.let_in = 0

    def require_room(self, timeout_seconds: float) -> None:
        """Refuse a request before anything is spent on it, where even a short text could not be answered in time.

        Raises:
            Problem: 429, with the seconds after which to come again.
        """
        self._require_time(READING, 0, timeout_seconds)

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

    def _seconds_of_queue(self) -> float:
        """What waits here, and as much as a request must wait in its socket: the loop reads it as late as it writes."""
        return self.waiting_cost * self.seconds_per_cost / len(self.threads) + self.loop_lag

    def _require_time(self, cost: float, texts: int, timeout_seconds: float) -> None:
        expected = self._seconds_of_queue() + cost * self.seconds_per_cost
        late = self.waiting_cost > 0 and expected > LET_IN_SHARE * timeout_seconds
        if late or (self.waiting_texts and self.waiting_texts + texts > MOST_TEXTS_WAITING):
            raise too_busy(expected)

    def _queue(self, rows: Sequence[Row], timeout_seconds: float, cost: int) -> Job[Engine]:
        engine, now = self.engine(), time.monotonic()
        job = Job(
            rows=rows,
            cost=cost,
            deadline=now + timeout_seconds,
            rank=now + min(PATIENCE * cost * self.seconds_per_cost, timeout_seconds / 2),
            engine=engine,
            work=self.work(engine),
            future=asyncio.get_running_loop().create_future(),
        )
        with self.news:
            self._require_time(cost, len(rows), timeout_seconds)
            self.waiting_texts += len(rows)
            self.waiting_cost += cost
            self.usual_cost *= 1 + SMOOTHING if cost > self.usual_cost else 1 / (1 + SMOOTHING)
            self.arrived.append(job)
            self.news.notify()
        return job

    def _work(self) -> None:
        self.prepare()
        goes_on = True
        while goes_on:
            try:
                goes_on = self._turn()
            except Exception as error:  # in choosing what to compute: without what is queued, choosing can go on
                fault = _fault(error)
                with self.news:
                    queued = self.queue.drain()
                self._end([(job, fault) for job in queued])

    def _turn(self) -> bool:
        """Do something useful; False when it is time to stop. Keeps nothing: a replaced model must be let go."""
        with self.news:
            while not self.arrived and not self.queue and not self.stopping:
                self.news.wait()
            jobs = list(self._arrivals())
            if not jobs and not self.queue:
                return False
        began = time.monotonic()
        for job in jobs:
            self._survive([job], partial(self._read, job))
        with self.news:
            batch = self.queue.take(began)
            if self.queue or self.arrived:
                self.news.notify()
        if batch:
            self._survive([job for job, _ in batch], partial(self._answer, batch, began))
        return True

    def _survive(self, jobs: Sequence[Job[Engine]], work: Callable[[], None]) -> None:
        """Do something for jobs; whatever is wrong with it ends them, never the thread."""
        try:
            work()
        except Exception as error:
            fault = _fault(error)
            self._end([(job, fault) for job in jobs])

    def _arrivals(self) -> Iterator[Job[Engine]]:
        """Jobs to read, together few enough that nobody waits long for the next batch."""
        texts = 0
        while self.arrived and texts < MOST_TEXTS_READ:
            job = self.arrived.popleft()
            texts += len(job.rows)
            yield job

    def _read(self, job: Job[Engine]) -> None:
        """Make windows of a job's rows and queue them."""
        if not job.wanted(time.monotonic()):
            self._end([(job, None)])
            return
        try:
            job.windows = job.work.encode(job.rows)
        except Exception as error:
            self._end([(job, _fault(error))])
            return
        count = job.missing = len(job.windows.features)
        job.outputs = [None] * count
        if not count:
            self._end([(job, _conclude(job))])
            return
        with self.news:
            self.queue.add(job)

    def _answer(self, batch: Batch, began: float) -> None:
        try:
            outputs = batch[0][0].work.outputs_of_batch([job.windows.features[window] for job, window in batch])
            if len(outputs) != len(batch):
                raise ValueError(f"{len(outputs)} outputs for {len(batch)} windows")
        except Exception as error:
            self._apart(batch, error)
            return
        with self.news:
            finished = [job for (job, window), output in zip(batch, outputs, strict=True) if job.got(window, output)]
        self._end([(job, _conclude(job)) for job in finished])
        seconds = time.monotonic() - began
        newest = seconds / sum(job.cost / len(job.outputs) for job, _ in batch)
        old = self.seconds_per_cost or newest
        self.seconds_per_cost = old + SMOOTHING * (newest - old)
        self.observe(len(batch), seconds)

    def _apart(self, batch: Batch, error: Exception) -> None:
        """One request's rows must not spoil the answers of the others: each window is asked alone."""
        if len(batch) == 1:
            self._end([(batch[0][0], _fault(error))])
            return
        for place in batch:
            if not place[0].closed:
                self._answer([place], time.monotonic())

    def _end(self, results: Sequence[tuple[Job[Engine], Answered[Engine] | Exception | None]]) -> None:
        """Let jobs go, with what came of each; None where nobody waits for it."""
        with self.news:
            open_ones = [(job, result) for job, result in results if self._close(job)]
        self._deliver([(job, result) for job, result in open_ones if result is not None])

    def _deliver(self, results: Sequence[tuple[Job[Engine], Answered[Engine] | Exception]]) -> None:
        """Hand results to the waiting requests in their own thread, all in one call."""
        ready = time.monotonic()

        def hand_over() -> None:
            self.loop_lag = time.monotonic() - ready
            for job, result in results:
                if job.future.done():
                    continue
                if isinstance(result, Exception):
                    job.future.set_exception(result)
                else:
                    job.future.set_result(result)

        if results:
            with suppress(RuntimeError):  # the loop was closed in the meantime: nobody waits any more
                results[0][0].future.get_loop().call_soon_threadsafe(hand_over)

    def _close(self, job: Job[Engine]) -> bool:
        """Count a job out; False if it has been before."""
        if job.closed:
            return False
        job.closed = True
        self.waiting_texts -= len(job.rows)
        self.waiting_cost -= job.cost
        return True


def _conclude(job: Job[Engine]) -> Answered[Engine] | Exception:
    try:
        return Answered(job.engine, job.work.conclude(job.rows, job.windows, job.outputs), job.windows)
    except Exception as error:
        return _fault(error)


def _fault(error: Exception) -> Exception:
    if isinstance(error, Problem):
        return error
    log.error("The model failed on a request: %s", type(error).__name__)  # its message may quote the text
    return own_fault()
