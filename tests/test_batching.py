"""The batcher: nobody waits for company, nobody waits in vain, nobody suffers for another's request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from components.task_types import Answer, Row
from service import batching
from service.batching import Batcher
from service.problems import Problem


class Model:
    """Answers with the text itself; holds each turn until `gate` is open."""

    def __init__(self) -> None:
        self.turns: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    def predict(self, _version: int, rows: Sequence[Row]) -> list[Answer]:
        texts = [row["text"] for row in rows]
        self.turns.append(texts)
        self.started.set()
        self.gate.wait(5)
        if "bad" in texts:
            raise ValueError("bad")
        return [{"label": text} for text in texts]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int]]:
    versions = iter(range(1, 100))
    batcher = Batcher[int](lambda: next(versions), model.predict, lambda: None, lambda _texts, _seconds: None)
    batcher.start()
    yield batcher
    model.gate.set()
    batcher.stop()
    assert batcher.waiting_texts == batcher.waiting_cost == 0


async def ask(batcher: Batcher[int], *texts: str, seconds: float = 5) -> tuple[int, list[str]] | int:
    """Who answered what, or the status of the refusal."""
    try:
        answered = await batcher.ask(
            [{"text": text} for text in texts], seconds, sum(100 + len(text) for text in texts)
        )
    except Problem as problem:
        return problem.status
    return answered.engine, [answer["label"] for answer in answered.answers]


async def behind_closed_gate(batcher: Batcher[int], model: Model, *requests: Callable[[], Any]) -> list[Any]:
    """Results of requests that all arrive while the model is at work on a first one."""
    model.gate.clear()
    model.started.clear()
    first = asyncio.create_task(ask(batcher, "first"))
    await asyncio.to_thread(model.started.wait, 5)
    rest = [asyncio.create_task(request()) for request in requests]
    await asyncio.sleep(0.05)
    model.gate.set()
    return list(await asyncio.gather(first, *rest))


def test_a_request_alone_starts_at_once(batcher: Batcher[int], model: Model):
    assert asyncio.run(ask(batcher, "a", "b")) == (1, ["a", "b"])
    assert model.turns == [["a", "b"]]


def test_what_came_meanwhile_is_answered_together_in_order_and_by_one_version(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "b", "c"), lambda: ask(batcher, "d")]
    results = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert results == [(1, ["first"]), (2, ["a"]), (2, ["b", "c"]), (2, ["d"])]
    assert model.turns == [["first"], ["a", "b", "c", "d"]]


def test_a_turn_has_a_size_and_a_larger_request_goes_alone(batcher: Batcher[int], model: Model, monkeypatch):
    monkeypatch.setattr(batching, "MOST_TEXTS_TOGETHER", 2)
    requests = [
        lambda: ask(batcher, *"abc"),
        lambda: ask(batcher, "d"),
        lambda: ask(batcher, "e"),
        lambda: ask(batcher, "f"),
    ]
    asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert model.turns == [["first"], ["a", "b", "c"], ["d", "e"], ["f"]]


def test_a_request_that_breaks_the_model_breaks_no_other(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "bad"), lambda: ask(batcher, "b")]
    _, a, bad, b = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert (a[1], bad, b[1]) == (["a"], 500, ["b"])


def test_a_request_that_is_out_of_time_is_refused_and_never_computed(batcher: Batcher[int], model: Model):
    results = asyncio.run(behind_closed_gate(batcher, model, lambda: ask(batcher, "late", seconds=0.01)))
    assert results == [(1, ["first"]), 503]
    asyncio.run(ask(batcher, "after"))
    assert ["late"] not in model.turns


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(batcher: Batcher[int], model: Model, monkeypatch):
    monkeypatch.setattr(batching, "MOST_TEXTS_WAITING", 2)
    requests = [lambda: ask(batcher, "a", "b"), lambda: ask(batcher, "c")]
    assert asyncio.run(behind_closed_gate(batcher, model, *requests))[2] == 429
    assert int(batching.too_busy(3.2).headers["retry-after"]) == 3


def test_what_cannot_be_in_time_is_refused_on_arrival(batcher: Batcher[int], model: Model):
    batcher.seconds_per_cost = 1.0  # a hundred seconds for a short text
    began = time.monotonic()
    assert asyncio.run(behind_closed_gate(batcher, model, lambda: ask(batcher, "a")))[1] == 429
    assert time.monotonic() - began < 2


def test_a_client_that_gave_up_costs_no_turn(batcher: Batcher[int], model: Model):
    async def gives_up() -> str:
        task = asyncio.create_task(ask(batcher, "nobody"))
        await asyncio.sleep(0.01)
        task.cancel()
        return "gone"

    asyncio.run(behind_closed_gate(batcher, model, gives_up))
    asyncio.run(ask(batcher, "after"))
    assert ["nobody"] not in model.turns


def test_what_is_queued_is_answered_before_the_end(batcher: Batcher[int], model: Model):
    async def end_meanwhile() -> Any:
        model.gate.clear()
        asked = [asyncio.create_task(ask(batcher, text)) for text in "ab"]
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(asyncio.to_thread(batcher.stop))
        model.gate.set()
        await ending
        return await asyncio.gather(*asked)

    assert [answer[1] for answer in asyncio.run(end_meanwhile())] == [["a"], ["b"]]
