"""Promotions and rollbacks under a steady load: is any request lost, and does only the committed version answer?

    python benchmarks/swapping.py [--cycles 20] [--rate 50] [--quick]

An endpoint process follows its release file, which is rewritten by the `write_release` that ends a promotion and a
rollback; MLflow's part of either is not run. Requests are sent at a fixed rate meanwhile, whether answers come or not.
A version may answer a request if, at some instant of it, it was committed: from the moment when the release file names
it to the moment when the next one is seen to answer.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from report import Table, machine, write_result
from small_endpoint import NAME, small_endpoint, tiny_bundle

from components.records import Bundle
from components.serving.releases import write_release
from components.settings import Settings

GOAL = "no failed request, no answer of a version that was not committed at some instant of the request"
STAYS_SECONDS = 1.0


@dataclass
class History:
    """What was committed when, and what was answered; times are those of `time.monotonic`."""

    commits: list[tuple[float, int]] = field(default_factory=list)
    seen: list[tuple[float, int]] = field(default_factory=list)  # when a commit was first seen to answer
    answers: list[tuple[float, float, int, int]] = field(default_factory=list)  # began, ended, status, version
    failures: list[str] = field(default_factory=list)

    def may_answer(self, version: int, began: float, ended: float) -> bool:
        """Whether a version was committed at some instant between two times."""
        for place, (since, which) in enumerate(self.commits):
            until = self.seen[place + 1][0] if place + 1 < len(self.seen) else float("inf")
            if which == version and since <= ended and began <= until:
                return True
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--quick", action="store_true", help="two cycles, no result file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rebert-swapping-") as folder:
        home = Path(folder)
        settings, first = tiny_bundle(home, 1)
        _, second = tiny_bundle(home, 2)
        with small_endpoint(settings, first) as endpoint:
            cycles = 2 if options.quick else options.cycles
            history = asyncio.run(swap(endpoint.address.url, settings, (first, second), cycles, options.rate))
    table, facts = judged(history, cycles, options.rate)
    table.show()
    if not options.quick:
        write_result("swapping", {"machine": machine(), "goal": GOAL, **facts}, [table])


async def swap(url: str, settings: Settings, bundles: tuple[Bundle, Bundle], cycles: int, rate: float) -> History:
    """The history of so many promotions, each with its rollback."""
    history = History()
    begun = time.monotonic()
    history.commits.append((begun, 1))
    history.seen.append((begun, 1))
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        ended = asyncio.Event()
        load = asyncio.create_task(steady_load(client, rate, history, ended))
        for number in range(2 * cycles):
            await asyncio.sleep(STAYS_SECONDS)
            bundle = bundles[1 - number % 2]
            history.commits.append((time.monotonic(), bundle.version))
            write_release(settings, NAME, bundle)
            while (await client.get("/readyz")).json()["version"] != bundle.version:
                await asyncio.sleep(0.01)
            history.seen.append((time.monotonic(), bundle.version))
        await asyncio.sleep(STAYS_SECONDS)
        ended.set()
        await load
    return history


async def steady_load(client: httpx.AsyncClient, rate: float, history: History, ended: asyncio.Event) -> None:
    """Requests at a rate, each on its own, until the end."""
    began, sent, tasks = time.monotonic(), 0, set()
    while not ended.is_set():
        while sent < (time.monotonic() - began) * rate:
            sent += 1
            tasks.add(asyncio.create_task(request(client, f"where is my card {sent}", history)))
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)


async def request(client: httpx.AsyncClient, text: str, history: History) -> None:
    began = time.monotonic()
    try:
        response = await client.post("/predict", json={"text": text})
        history.answers.append((began, time.monotonic(), response.status_code, response.json().get("version", 0)))
    except Exception as error:
        history.failures.append(repr(error))


def judged(history: History, cycles: int, rate: float) -> tuple[Table, dict[str, object]]:
    """The table of a history, and its figures."""
    failed = [answer for answer in history.answers if answer[2] != 200]
    wrong = [a for a in history.answers if a[2] == 200 and not history.may_answer(a[3], a[0], a[1])]
    waits = sorted(seen[0] - commit[0] for commit, seen in zip(history.commits[1:], history.seen[1:], strict=True))
    times = sorted((ended - began) * 1000 for began, ended, _, _ in history.answers)
    facts: dict[str, object] = {
        "requests": len(history.answers) + len(history.failures),
        "failed": len(failed) + len(history.failures),
        "of_a_wrong_version": len(wrong),
        "median_seconds_until_a_swap": round(waits[len(waits) // 2], 3),
        "longest_seconds_until_a_swap": round(waits[-1], 3),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[int(len(times) * 0.99)], 2),
    }
    table = Table(f"{cycles} promotions and rollbacks under {rate:g} requests a second, tiny model", ("", ""))
    for name, value in facts.items():
        table.add(name.replace("_", " "), value)
    return table, facts


if __name__ == "__main__":
    main()
