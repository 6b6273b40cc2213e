"""The judge of a version on trial, with versions that answer, err or dawdle as they are told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.serving.trials import Trial
from components.task_types import Windows
from service import contest as contests
from service.answering import Answering
from service.contest import Contest, place_of
from service.metrics import Metrics
from service.problems import Problem
from service.window_queue import Answered


@dataclass
class Version:
    """Says one label to every row, after some seconds or not at all."""

    says: str = "card"
    shows: bool = True
    most_together = None
    seconds: float = 0.0
    errs: bool = False

    task_type = SimpleNamespace(said=lambda answer: answer["label"])

    @property
    def predictor(self) -> Any:
        return self

    def cost(self, rows: Any) -> int:
        return 100 * len(rows)

    def encode(self, rows: Any) -> Windows:
        return Windows([{"input_ids": [1]} for _ in rows], list(range(len(rows))))

    def best_batch(self, wanted: int) -> int:
        return wanted

    def outputs_of_batch(self, features: Any) -> list[Any]:
        time.sleep(self.seconds)
        if self.errs:
            raise ValueError("broken")
        return [self.says] * len(features)

    def conclude(self, _rows: Any, _windows: Windows, outputs: Any) -> list[Any]:
        return [{"label": said} for said in outputs]

    def present(self, answers: Any, _top_k: int) -> list[Any]:
        if not self.shows:
            raise KeyError("card")
        return list(answers)


def trial(mode: str = "canary", share: float = 1.0) -> Trial:
    return Trial(
        tag="support:2-x",
        path=Path("/x"),
        version=2,
        model_digest="0" * 64,
        mode=mode,
        share=share,
        started=datetime.now(UTC),
    )


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch):
    """Makes and starts a contest of a version."""
    begun: list[Contest] = []
    monkeypatch.setattr("service.contest.cores", lambda: 1)

    def make(version: Version, **options: Any) -> Contest:
        contest = Contest(trial(**options), version, Metrics())  # type: ignore[arg-type]
        contest.start()
        begun.append(contest)
        return contest

    yield make
    for contest in begun:
        contest.stop()


ROWS = [{"text": "a"}]
ASKED: Any = SimpleNamespace(rows=ROWS, top_k=3)
LIVE: Any = Answered(Version(), [{"label": "card"}], Windows([], []))  # type: ignore[arg-type]


def body(number: int) -> bytes:
    return str(number).encode()


async def ask(contest: Contest, times: int, seconds: float = 5.0) -> list[Any]:
    return [await contest.answer(body(number), ASKED, seconds) for number in range(times)]


def test_a_canary_answers_its_share_of_the_requests_and_the_same_ones_every_time(begin):
    contest = begin(Version(), share=0.3)
    first, again = asyncio.run(ask(contest, 300)), asyncio.run(ask(contest, 300))
    taken = [answered is not None for answered in first]
    assert taken == [answered is not None for answered in again]
    assert 60 < sum(taken) < 120
    assert contest.counts.requests == 2 * sum(taken)


def test_a_canary_that_errs_gives_its_requests_back_and_is_ended(begin):
    contest = begin(Version(errs=True))
    assert asyncio.run(ask(contest, 10)) == [None] * 10
    assert contest.verdict == "3 of 3 requests got no answer."
    assert contest.counts.requests == 3  # nothing is sent to it any more


def test_an_answer_that_a_canary_cannot_show_is_an_error_of_the_canary(begin):
    contest = begin(Version(shows=False))
    assert asyncio.run(ask(contest, 3)) == [None] * 3
    assert contest.verdict == "3 of 3 requests got no answer."


def test_the_live_version_gets_what_the_canary_has_left_of_the_time(begin):
    contest, given = begin(Version(seconds=0.3)), []

    async def live(_rows: Any, seconds: float, _cost: int) -> Any:
        given.append(seconds)
        return LIVE

    asked = SimpleNamespace(
        trials=SimpleNamespace(current=contest), batcher=SimpleNamespace(ask=live), _cost=lambda _rows: 100
    )
    answered = asyncio.run(Answering._answers(asked, body(1), ASKED, 0.2))  # type: ignore[arg-type]
    assert answered is LIVE
    assert 0 < given[0] <= 0.1


def test_a_single_error_ends_nothing(begin):
    version = Version(errs=True)
    contest = begin(version)
    asyncio.run(ask(contest, 1))
    version.errs = False
    assert None not in asyncio.run(ask(contest, 200))
    assert contest.verdict == ""


def test_a_canary_that_hangs_leaves_time_for_the_live_version(begin):
    contest = begin(Version(seconds=0.3))
    began = time.monotonic()
    assert asyncio.run(ask(contest, 1, seconds=0.2)) == [None]
    assert time.monotonic() - began < 0.2
    assert contest.counts.errors == 1


@pytest.mark.parametrize(("seconds", "ended"), [(0.012, True), (0.0, False)])
def test_a_canary_that_is_much_slower_than_the_live_version_is_ended(begin, monkeypatch, seconds: float, ended: bool):
    monkeypatch.setattr(contests, "FEWEST_TIMES", 10)
    contest = begin(Version(seconds=seconds))
    for number in range(10):
        contest.observe(body(number), ROWS, LIVE, 0.002)
    asyncio.run(ask(contest, 12))
    assert bool(contest.verdict) == ended
    assert ended == ("the live version 2.0 ms (medians)" in contest.verdict)


def test_a_full_queue_is_no_fault_of_the_canary(begin, monkeypatch):
    contest = begin(Version())

    async def refuse(*_: Any) -> None:
        raise Problem(429, "full", "wait.")

    monkeypatch.setattr(contest.batcher, "ask", refuse)
    assert asyncio.run(ask(contest, 10)) == [None] * 10
    assert (contest.verdict, contest.counts.errors) == ("", 0)


@pytest.mark.parametrize(("says", "disagreements"), [("card", 0), ("refund", 20)])
def test_a_shadow_counts_where_it_decides_otherwise_and_answers_nobody(begin, says: str, disagreements: int):
    contest = begin(Version(says), mode="shadow")

    async def run() -> list[Any]:
        answers = await ask(contest, 5)
        for number in range(20):
            contest.observe(body(number), ROWS, LIVE, 0.001)
        await asyncio.gather(*contest.copies)
        return answers

    assert asyncio.run(run()) == [None] * 5
    assert (contest.counts.rows, contest.counts.disagreements) == (20, disagreements)
    text = contest.metrics.text().decode()
    assert 'rebert_trial_rows_total{mode="shadow",service_name="",version="2"} 20.0' in text


def test_a_shadow_that_falls_behind_drops_copies(begin, monkeypatch):
    monkeypatch.setattr(contests, "MOST_WAITING_COPIES", 2)
    contest = begin(Version(seconds=0.05), mode="shadow")

    async def run() -> None:
        for number in range(20):
            contest.observe(body(number), ROWS, LIVE, 0.001)
            await asyncio.sleep(0)
        await asyncio.gather(*contest.copies)

    asyncio.run(run())
    assert contest.counts.dropped > 10
    assert contest.counts.dropped + contest.counts.rows == 20


def test_requests_fall_evenly():
    places = [place_of(body(number)) for number in range(2000)]
    assert 0 <= min(places) < max(places) < 1
    assert sum(places) / 2000 == pytest.approx(0.5, abs=0.03)
