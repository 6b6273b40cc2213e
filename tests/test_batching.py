"""The batcher: nobody waits for company, nobody waits in vain, nobody suffers for another's request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from components.task_types import Answer, Features, Row, Windows
from service import batching, window_queue
from service.batching import Batcher
from service.problems import Problem


class Model:
    """Answers with the text itself, a window a letter; holds each batch until `gate` is open."""

    most_together: tuple[int, int] | None = None

    def __init__(self) -> None:
        self.turns: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    def encode(self, rows: Sequence[Row]) -> Windows:
        if any(row["text"] == "unreadable" for row in rows):
            raise ValueError("unreadable")
        windows = Windows([], [])
        for number, row in enumerate(rows):
            for part in row["text"].split("|"):
                windows.features.append({"input_ids": [ord(letter) for letter in part]})
                windows.rows.append(number)
        return windows

    def best_batch(self, wanted: int) -> int:
        return wanted

    def outputs_of_batch(self, features: Sequence[Features]) -> list[Any]:
        texts = ["".join(map(chr, window["input_ids"])) for window in features]
        self.turns.append(texts)
        self.started.set()
        self.gate.wait(5)
        if "bad" in texts:
            raise ValueError("bad")
        if "few" in texts:
            return texts[1:]
        return texts

    def conclude(self, rows: Sequence[Row], windows: Windows, outputs: Sequence[Any]) -> list[Answer]:
        said: list[list[str]] = [[] for _ in rows]
        for row, output in zip(windows.rows, outputs, strict=True):
            said[row].append(output)
        return [{"label": "|".join(parts)} for parts in said]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int]]:
    versions = iter(range(1, 1000))
    batcher = Batcher[int](lambda: next(versions), lambda _version: model, lambda _windows, _seconds: None)
    batcher.start()
    yield batcher
    model.gate.set()
    batcher.stop()
    assert batcher.waiting_texts == batcher.waiting_cost == 0
    assert not batcher.queue


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


def test_what_came_meanwhile_is_answered_together_and_a_request_by_one_version(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "b", "c"), lambda: ask(batcher, "d")]
    results = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert results == [(1, ["first"]), (2, ["a"]), (3, ["b", "c"]), (4, ["d"])]
    assert model.turns == [["first"], ["a", "b", "c", "d"]]


def test_a_batch_has_a_size_and_a_larger_request_goes_in_several(batcher: Batcher[int], model: Model, monkeypatch):
    monkeypatch.setattr(window_queue, "MOST_WINDOWS_TOGETHER", 2)
    requests = [lambda: ask(batcher, *"abc"), lambda: ask(batcher, "d")]
    results = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert results[1:] == [(2, ["a", "b", "c"]), (3, ["d"])]
    assert model.turns == [["first"], ["a", "b"], ["c", "d"]]


def test_an_engine_may_like_larger_batches(batcher: Batcher[int], model: Model):
    model.most_together = (64, 4096)
    requests = [lambda: ask(batcher, *["ab"] * 40)]
    asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert [len(turn) for turn in model.turns[1:]] == [40]


def test_windows_of_unlike_lengths_are_not_padded_to_each_other(batcher: Batcher[int], model: Model):
    long, longer = "l" * 30, "m" * 31
    requests = [lambda text=text: ask(batcher, text) for text in ("a", long, "b", longer, "c")]
    results = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert [answer[1] for answer in results[1:]] == [["a"], [long], ["b"], [longer], ["c"]]
    assert sorted(map(sorted, model.turns[1:])) == [["a", "b", "c"], [long, longer]]


def test_a_short_text_that_comes_after_a_long_one_does_not_wait_for_all_of_it(batcher: Batcher[int], model: Model):
    asyncio.run(ask(batcher, "warm"))
    batcher.seconds_per_cost = 1e-5
    long = "|".join("l" * 200 for _ in range(40))
    requests = [lambda: ask(batcher, long), lambda: ask(batcher, "short")]
    assert asyncio.run(behind_closed_gate(batcher, model, *requests))[1:] == [(3, [long]), (4, ["short"])]
    assert model.turns[2] == ["short"]


def test_a_long_text_is_not_passed_for_ever(batcher: Batcher[int], model: Model, monkeypatch):
    """Who comes after the time that a long text grants goes behind it."""
    asyncio.run(ask(batcher, "warm"))
    batcher.seconds_per_cost = 1e-5
    monkeypatch.setattr(batching, "PATIENCE", 0.0)
    long = "l" * 200
    requests = [lambda: ask(batcher, long), lambda: ask(batcher, "short")]
    asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert model.turns[2:] == [[long], ["short"]]


def test_what_cannot_be_read_breaks_no_other(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "unreadable"), lambda: ask(batcher, "b")]
    _, a, unreadable, b = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert (a[1], unreadable, b[1]) == (["a"], 500, ["b"])


@pytest.mark.parametrize("threads", [1, 3])
def test_many_requests_at_once_each_get_their_own_answers(model: Model, threads: int):
    batcher = Batcher[int](lambda: 1, lambda _version: model, lambda _windows, _seconds: None, threads=threads)
    batcher.start()
    texts = [
        "|".join("xyz"[(number + part) % 3] * (number % 40 + part) for part in range(1, 4)) for number in range(300)
    ]

    async def all_of_them() -> list[Any]:
        return list(await asyncio.gather(*(ask(batcher, text, "b") for text in texts)))

    assert asyncio.run(all_of_them()) == [(1, [text, "b"]) for text in texts]
    batcher.stop()
    assert (batcher.waiting_texts, batcher.waiting_cost, batcher.works) == (0, 0, False)


def test_a_request_that_breaks_the_model_breaks_no_other(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "bad"), lambda: ask(batcher, "b")]
    _, a, bad, b = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert (a[1], bad, b[1]) == (["a"], 500, ["b"])


def test_too_few_outputs_break_nobody_else(batcher: Batcher[int], model: Model):
    requests = [lambda: ask(batcher, "a"), lambda: ask(batcher, "few"), lambda: ask(batcher, "b")]
    _, a, few, b = asyncio.run(behind_closed_gate(batcher, model, *requests))
    assert (a[1], few, b[1]) == (["a"], 500, ["b"])


def test_a_thread_outlives_whatever_goes_wrong(batcher: Batcher[int], model: Model, caplog):
    batcher.observe = None  # type: ignore[assignment]
    assert asyncio.run(ask(batcher, "a"))[1] == ["a"]  # it was delivered before the fault
    model.best_batch = lambda wanted: None  # type: ignore[assignment,return-value]
    assert asyncio.run(ask(batcher, "b")) == 500
    assert batcher.works
    del model.best_batch
    assert asyncio.run(ask(batcher, "c"))[1] == ["c"]
    assert "TypeError" in caplog.text


def test_a_request_that_is_out_of_time_is_refused_and_never_computed(batcher: Batcher[int], model: Model):
    results = asyncio.run(behind_closed_gate(batcher, model, lambda: ask(batcher, "late", seconds=0.01)))
    assert results == [(1, ["first"]), 503]
    asyncio.run(ask(batcher, "after"))
    assert ["late"] not in model.turns


def test_what_waits_in_the_sockets_counts_as_well(batcher: Batcher[int], model: Model):
    asyncio.run(ask(batcher, "a"))
    assert 0 < batcher.loop_lag < 1
    batcher.loop_lag = 5.0  # the loop comes to answers, and so to requests, five seconds late
    assert asyncio.run(ask(batcher, "b"))[1] == ["b"]  # while nothing waits here, there is time
    batcher.loop_lag = 5.0
    assert asyncio.run(behind_closed_gate(batcher, model, lambda: ask(batcher, "c")))[1] == 429


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(batcher: Batcher[int], model: Model, monkeypatch):
    monkeypatch.setattr(batching, "MOST_TEXTS_WAITING", 3)
    requests = [lambda: ask(batcher, "a", "b"), lambda: ask(batcher, "c")]
    assert asyncio.run(behind_closed_gate(batcher, model, *requests))[2] == 429
    assert asyncio.run(ask(batcher, *"abcd"))[1] == list("abcd")  # with nothing before it, it is welcome
    assert int(batching.too_busy(3.2).headers["retry-after"]) == 3


def test_what_cannot_be_in_time_is_refused_on_arrival(batcher: Batcher[int], model: Model):
    batcher.seconds_per_cost = 1.0  # a hundred seconds for a short text
    began = time.monotonic()
    assert asyncio.run(behind_closed_gate(batcher, model, lambda: ask(batcher, "a")))[1] == 429
    assert time.monotonic() - began < 2


def test_requests_that_were_let_in_take_room_until_the_loop_comes_to_them(batcher: Batcher[int]):
    async def let_in() -> int:
        count = 0
        while batcher.lack_of_room(1.0) is None:
            batcher.expect()
            count += 1
        return count

    async def twice() -> list[int]:
        first = await let_in()
        await asyncio.sleep(0)
        return [first, await let_in()]

    batcher.waiting_cost, batcher.seconds_per_cost = 1, 0.1 / batcher.usual_cost  # half of a second is to be had
    assert asyncio.run(twice()) == [4, 4]
    batcher.waiting_cost = 0


def test_what_is_usual_follows_most_requests_and_not_the_large_ones(batcher: Batcher[int]):
    async def asked(*costs: int) -> float:
        for cost in costs:
            await batcher.ask([{"text": "a"}], 5.0, cost)
        return batcher.usual_cost

    assert asyncio.run(asked(*[300] * 60)) == pytest.approx(300, rel=0.15)
    assert asyncio.run(asked(100_000)) < 400


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
