"""Windows that wait to be computed: whose turn it is, and which go through the network together.

Whose turn it is goes by arrival and size: a long text gives way to short ones that come soon after it, and to no
others, so that nobody starves. Windows of like lengths go together, whoever's they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from components.task_types import Answer, Features, Row, Windows

Engine = TypeVar("Engine")
MOST_WINDOWS_TOGETHER = 16  # more would make each hardly cheaper, and those who come meanwhile wait longer
MOST_TOKENS_TOGETHER = 1024
LIKE_TOKENS = 8  # windows whose lengths differ by less go together
SHORT_COMPANY = 4  # windows; a smaller batch also takes shorter ones and pads them


class Work(Protocol):
    """What a model version does for the batcher; called from several threads.

    `most_together` are the windows and tokens of its largest batch; None for those that a CPU likes.
    """

    most_together: tuple[int, int] | None

    def encode(self, rows: Sequence[Row]) -> Windows:
        """What the network shall read of each row."""

    def best_batch(self, wanted: int) -> int:
        """How many windows to take of so many."""

    def outputs_of_batch(self, features: Sequence[Features]) -> list[Any]:
        """What the network gives for windows that go through it together."""

    def conclude(self, rows: Sequence[Row], windows: Windows, outputs: Sequence[Any]) -> list[Answer]:
        """What is said about each row."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[Engine]):
    """Answers in the order of the rows, who gave all of them, and what was read of the rows."""

    engine: Engine
    answers: list[Answer]
    windows: Windows


@dataclass(slots=True, eq=False)
class Job(Generic[Engine]):
    """The rows of one request on their way. Times are on the clock of `time.monotonic`, `cost` is in characters.

    `missing` counts the windows that have no output yet; `rank` is whose turn it is, the lowest first.
    """

    rows: Sequence[Row]
    cost: int
    deadline: float
    rank: float
    engine: Engine
    work: Work
    future: asyncio.Future[Answered[Engine]]
    windows: Windows = field(default_factory=lambda: Windows([], []))
    outputs: list[Any] = field(default_factory=list)
    missing: int = 0
    closed: bool = False

    def wanted(self, now: float) -> bool:
        """Whether somebody still waits for the answers."""
        return not self.closed and self.deadline > now and not self.future.cancelled()

    def got(self, window: int, output: Any) -> bool:
        """Take what the network gave for a window; whether it was the last one."""
        self.outputs[window] = output
        self.missing -= 1
        return not self.missing and not self.closed


Place = tuple[float, int, Job[Any], int]  # rank, a number that makes it unique, the job, the window in it
Batch = list[tuple[Job[Any], int]]


class WindowQueue(Generic[Engine]):
    """Windows by version and length, in each the one first whose turn it is. Not safe without the batcher's lock.

    Args:
        let_go: told of each job that turns out to be wanted no more.
    """

    def __init__(self, let_go: Callable[[Job[Engine]], object]) -> None:
        self.let_go = let_go
        self.heaps: dict[tuple[int, int], list[Place]] = {}
        self.numbers = 0

    def __bool__(self) -> bool:
        return bool(self.heaps)

    def add(self, job: Job[Engine]) -> None:
        """Queue a job's windows."""
        for window, features in enumerate(job.windows.features):
            key = (id(job.work), -(-len(features["input_ids"]) // LIKE_TOKENS))
            self.numbers += 1
            heappush(self.heaps.setdefault(key, []), (job.rank, self.numbers, job, window))

    def take(self, now: float) -> Batch:
        """The next windows: the first of the job whose turn it is, in the company of others of like lengths."""
        for key in list(self.heaps):
            self._drop_unwanted(key, now)
        if not self.heaps:
            return []
        version, steps = first = min(self.heaps, key=lambda key: self.heaps[key][0][:2])
        windows, tokens = self.heaps[first][0][2].work.most_together or (MOST_WINDOWS_TOGETHER, MOST_TOKENS_TOGETHER)
        most = max(1, min(windows, tokens // (steps * LIKE_TOKENS)))
        keys = [first]
        if len(self.heaps[first]) < SHORT_COMPANY and (version, steps - 1) in self.heaps:
            keys.append((version, steps - 1))
        there = min(most, sum(len(self.heaps[key]) for key in keys))
        wanted = self.heaps[first][0][2].work.best_batch(there)
        taken: Batch = []
        for key in keys:
            while len(taken) < wanted and key in self.heaps:
                _, _, job, window = heappop(self.heaps[key])
                taken.append((job, window))
                self._drop_unwanted(key, now)
        return taken

    def drain(self) -> list[Job[Engine]]:
        """All jobs with windows here, which are forgotten."""
        jobs = {id(job): job for places in self.heaps.values() for _, _, job, _ in places}
        self.heaps.clear()
        return list(jobs.values())

    def _drop_unwanted(self, key: tuple[int, int], now: float) -> None:
        """Forget windows at the head of a heap whose answers nobody waits for any more, and a heap that is empty."""
        places = self.heaps[key]
        while places and not places[0][2].wanted(now):
            self.let_go(heappop(places)[2])
        if not places:
            del self.heaps[key]
