"""Four times more requests than the endpoint can answer, and a process that is killed under load.

    python benchmarks/overload.py [--home FOLDER] [--seconds 60] [--times 4] [--quick]

Asks the bundle that benchmarks/serving.py has trained. As many clients as fill it, for its peak, and an open loop at
four times that rate, in turn: goodput is what is answered with 200 within `serving.timeout_seconds`, and each part of
it is compared with the peaks before and after it, for machines become faster and slower by themselves. What makes the
requests takes its share of the same cores, more of them under overload: beside the plain share of the peak stands the
share with both divided by the cores that this left. Then a steady load while the serving process is killed with
SIGKILL: how long nothing is answered, and whether any answer is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from report import Table, machine, write_result
from serving import ROOT, Running, Server, ask, load, test_rows, train

GOAL = "goodput at least 90 % of the peak, refusals within 50 ms (p99), no 500; after kill -9 back within 3 s"
PARTS = 3  # of the overload
CORES = len(os.sched_getaffinity(0))
DEADLINE_MS = 2_000.0  # serving.timeout_seconds of the run file that serving.py writes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "rebert-serving-benchmark")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=4)
    parser.add_argument("--quick", action="store_true", help="few seconds, no result file")
    options = parser.parse_args()
    seconds = 6.0 if options.quick else options.seconds
    home = options.home.resolve()
    train(home, options.rows)
    texts = [text for text, _ in test_rows()]
    with kept(home) as running:
        overload = overloaded(running, texts, seconds, options.times)
        killed = killed_under_load(running, texts[:200])
    tables = [_overload_table(overload), _kill_table(killed)]
    for table in tables:
        table.show()
    if not options.quick:
        write_result("overload", {"machine": machine(), "goal": GOAL, **overload, **killed}, tables)


@contextmanager
def kept(home: Path) -> Iterator[Running]:
    """`rebert serve` as an operator starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "REBERT_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", "banking77", "--port", str(port)],
        cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    running = Running(Server("rebert", (), {}, "/predict", "text"), process, port, 0.0)
    try:
        for _ in range(600):
            try:
                ask(running, "where is my card")
                break
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(60)


def overloaded(running: Running, texts: Sequence[str], seconds: float, times: float) -> dict[str, Any]:
    """Peaks and goodput, in answers a second; in all so many seconds of overload."""
    load(running, texts, "--clients", "64", "--seconds", "3")
    full, parts = [_filled(running, texts, seconds)], []
    for _ in range(PARTS):
        rate = times * answered(full[-1])
        parts.append(load(running, texts, "--rate", str(rate), "--seconds", str(seconds / PARTS)))
        full.append(_filled(running, texts, seconds))
    peaks, goodput = [answered(each) for each in full], [answered(part) for part in parts]
    shares = [good / statistics.mean(around) for good, around in zip(goodput, pairwise(peaks), strict=True)]
    taken_full, taken = statistics.mean(map(_generator_cores, full)), statistics.mean(map(_generator_cores, parts))
    left = (CORES - taken) / (CORES - taken_full)
    answers = [answer for part in parts for answer in part["answers"]]
    good = sorted(ms for _, status, ms in answers if status == 200 and ms <= DEADLINE_MS)
    refused = sorted(ms for _, status, ms in answers if status in (429, 503))
    return {
        "peaks": peaks,
        "offered": len(answers) / seconds,
        "unsent": sum(part["unsent"] for part in parts),
        "goodput": goodput,
        "share_of_peak": statistics.mean(shares),
        "share_of_peak_by_cores_left": statistics.mean(shares) / left,
        "admitted_p99_ms": _quantile(good, 0.99),
        "refused_p50_ms": _quantile(refused, 0.5),
        "refused_p99_ms": _quantile(refused, 0.99),
        "statuses": dict(Counter(str(status) for _, status, _ in answers)),
        "generator_cores": taken,
        "generator_cores_at_peak": taken_full,
    }


def _filled(running: Running, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    return load(running, texts, "--clients", "64", "--seconds", str(min(10.0, seconds)))


def _generator_cores(found: dict[str, Any]) -> float:
    cores: float = found["own_cpu_seconds"] / found["seconds"]
    return cores


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[int(len(ordered) * share)] if ordered else None


def answered(found: dict[str, Any]) -> float:
    """Answers a second that came in time and before the end of the measurement."""
    end, answers = found["seconds"], found["answers"]
    right = (when for when, status, ms in answers if status == 200 and ms <= DEADLINE_MS and when + ms / 1000 <= end)
    return sum(1 for _ in right) / end


def killed_under_load(running: Running, texts: Sequence[str]) -> dict[str, Any]:
    """Seconds without an answer after SIGKILL, and wrong answers, under four clients that ask all the time."""
    expected = {text: ask(running, text) for text in texts}
    ended, good, wrong, failed = threading.Event(), [], [], []

    def client(first: int) -> None:
        number = first
        while not ended.is_set():
            text = texts[number % len(texts)]
            number += 4
            try:
                label = ask(running, text)
            except (OSError, ValueError, http.client.HTTPException) as error:
                failed.append(type(error).__name__)
                continue
            good.append(time.monotonic())
            if label != expected[text]:
                wrong.append(text)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    gaps = []
    for _ in range(3):
        time.sleep(3)
        worker = next(
            child for child in psutil.Process(running.process.pid).children() if "service.start" in child.cmdline()
        )
        killed = time.monotonic()
        os.kill(worker.pid, signal.SIGKILL)
        while not any(when > killed + 0.2 for when in good[-50:]) and time.monotonic() < killed + 30:
            time.sleep(0.01)
        gaps.append(min((when for when in good if when > killed + 0.2), default=killed + 30) - killed)
    ended.set()
    for thread in clients:
        thread.join()
    return {"killed_seconds": gaps, "killed_wrong": len(wrong), "killed_failed": len(failed), "killed_right": len(good)}


def _overload_table(found: dict[str, Any]) -> Table:
    table = Table("More requests than can be answered", ("what", "measured"))
    for name, value in found.items():
        table.add(name.replace("_", " "), _shown(value))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{each:.0f}" for each in value)
    return json.dumps(value) if isinstance(value, dict) else f"{value or 0:.2f}"


def _kill_table(found: dict[str, Any]) -> Table:
    table = Table("SIGKILL under load", ("seconds to the next answer", "wrong answers", "failed requests", "answers"))
    seconds = ", ".join(f"{gap:.2f}" for gap in found["killed_seconds"])
    table.add(seconds, found["killed_wrong"], found["killed_failed"], found["killed_right"])
    return table


if __name__ == "__main__":
    main()
