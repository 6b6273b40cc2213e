"""Four times more requests than the endpoint can answer, and a process that is killed under load.

    python benchmarks/overload.py [--home FOLDER] [--seconds 60] [--times 4] [--quick]

Asks the bundle that benchmarks/serving.py has trained. First as many clients as fill it, for its peak; then an open
loop at four times that rate: goodput is what is answered with 200 within `serving.timeout_seconds`. Then a steady load
while the serving process is killed with SIGKILL: how long nothing is answered, and whether any answer is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from report import Table, machine, write_result
from serving import ROOT, Running, Server, ask, load, test_rows, train

GOAL = "goodput at least 90 % of the peak, refusals within 50 ms (p99), no 500; after kill -9 back within 3 s"
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
    """Peak and goodput, in answers a second."""
    load(running, texts, "--clients", "64", "--seconds", "3")
    peaks = [load(running, texts, "--clients", "64", "--seconds", str(min(10.0, seconds))) for _ in range(2)]
    peak = max(map(answered, peaks))
    found = load(running, texts, "--rate", str(times * peak), "--seconds", str(seconds))
    after = load(running, texts, "--clients", "64", "--seconds", str(min(10.0, seconds)))
    answers = found["answers"]
    good = [ms for _, status, ms in answers if status == 200 and ms <= DEADLINE_MS]
    goodput = answered(found)
    refused = sorted(ms for _, status, ms in answers if status in (429, 503))
    return {
        "peak": peak,
        "peak_afterwards": answered(after),
        "offered": len(answers) / seconds,
        "unsent": found["unsent"],
        "goodput": goodput,
        "share_of_peak": goodput / peak,
        "admitted_p99_ms": sorted(good)[int(len(good) * 0.99)] if good else None,
        "refused_p50_ms": refused[len(refused) // 2] if refused else None,
        "refused_p99_ms": refused[int(len(refused) * 0.99)] if refused else None,
        "statuses": dict(Counter(str(status) for _, status, _ in answers)),
        "generator_cores": found["own_cpu_seconds"] / seconds,
    }


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
        table.add(name.replace("_", " "), json.dumps(value) if isinstance(value, dict) else f"{value or 0:.2f}")
    return table


def _kill_table(found: dict[str, Any]) -> Table:
    table = Table("SIGKILL under load", ("seconds to the next answer", "wrong answers", "failed requests", "answers"))
    seconds = ", ".join(f"{gap:.2f}" for gap in found["killed_seconds"])
    table.add(seconds, found["killed_wrong"], found["killed_failed"], found["killed_right"])
    return table


if __name__ == "__main__":
    main()
