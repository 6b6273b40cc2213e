"""Live curves: what a training writes into its history file, and how busy the machine is, sent to MLflow on the side.

The history file is its own spool. What MLflow has is asked of MLflow, so that nothing is lost when it was away and
nothing is doubled when a line is sent twice or written again after a resumption.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import Any, NamedTuple

from components.errors import ProjectError
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings

log = logging.getLogger("rebert.tracking")

POLL_SECONDS = 2
LONGEST_POLL_SECONDS = 15  # in a training of hours; each look takes a moment of both cores, as they wait for each other
LONGEST_PAUSE_SECONDS = 60  # between two tries while MLflow is away
LEAVE_SECONDS = 15  # how long the end of a training waits for the last points
BATCH = 1000  # most metrics that MLflow takes in one request
MOST_SYSTEM_POINTS = 20_000  # kept while MLflow is away


class Point(NamedTuple):
    """One value of a curve; `time` in unix milliseconds."""

    name: str
    value: float
    time: int
    step: int


class LiveCurves:
    """Sends the curves of a training from a thread of its own, as a context around the training.

    It raises nothing and holds nothing up. What could not be sent of the history is sent by `send_history` later; what
    could not be sent of the system metrics until the end is given up.

    Args:
        settings: where MLflow is.
        run_id: the run.
        history: the JSONL file of the training; it need not be there yet.
    """

    def __init__(self, settings: Settings, run_id: str, history: Path) -> None:
        self.settings = settings
        self.run_id = run_id
        self.history = history
        self._sent: dict[str, int] | None = None
        self._system: deque[Point] = deque(maxlen=MOST_SYSTEM_POINTS)
        self._away = False
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._watch)]

    def __enter__(self) -> LiveCurves:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        deadline = monotonic() + LEAVE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _send(self) -> None:
        began, pause = monotonic(), float(POLL_SECONDS)
        while not self._stop.wait(pause):
            usual = max(POLL_SECONDS, min((monotonic() - began) / 20, LONGEST_POLL_SECONDS))
            pause = usual if self._try_to_send() else min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._try_to_send()

    def _try_to_send(self) -> bool:
        try:
            if self._sent is None:
                self._sent = last_steps(self.settings, self.run_id)
            send_points(self.settings, self.run_id, new_points(self.history, self._sent))
            waiting = list(self._system)
            send_points(self.settings, self.run_id, waiting)
        except ProjectError as error:
            log.log(logging.DEBUG if self._away else logging.WARNING, "The curves wait: %s", error.problem)
            self._away = True
            self._sent = None  # how much of a broken request has arrived, only MLflow knows
            return False
        except Exception:  # a defect here must not end a training of hours
            log.exception("The curves of run %s stop here.", self.run_id)
            self._stop.set()
            return False
        if self._away:
            log.warning("MLflow answers again; the curves go on.")
        self._away = False
        for _ in waiting:
            self._system.popleft()
        return True

    def _watch(self) -> None:
        """Sample the machine: each second at first, then ever more rarely, at most once a minute."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # Not its own thread: that one ends for good at the first request that fails, and its end can block.
        monitor = SystemMetricsMonitor(self.run_id, tracking_uri=self.settings.tracking_uri)
        began = monotonic()
        step = 0
        while not self._stop.wait(min(max(1.0, (monotonic() - began) / 60), 60.0)):
            monitor.collect_metrics()
            now = int(time() * 1000)
            values = monitor.aggregate_metrics()
            self._system.extend(Point(f"system/{name}", value, now, step) for name, value in values.items())
            for part in monitor.monitors:
                part.clear_metrics()
            step += 1


def send_history(settings: Settings, run_id: str, history: Path) -> int:
    """Send what MLflow lacks of a history file; returns how many points that were.

    Raises:
        RegistryError: MLflow does not answer.
    """
    points = new_points(history, last_steps(settings, run_id))
    send_points(settings, run_id, points)
    return len(points)


@mlflow_errors
def last_steps(settings: Settings, run_id: str) -> dict[str, int]:
    """The last step of each curve that MLflow has of a run."""
    client = open_store(settings)
    names = client.get_run(run_id).data.metrics
    return {name: max(point.step for point in client.get_metric_history(run_id, name)) for name in names}


def new_points(history: Path, sent: Mapping[str, int]) -> list[Point]:
    """The points of a history file that come after the steps that were sent."""
    if not history.exists():
        return []
    return [point for point in _points(history) if point.step > sent.get(point.name, -1)]


def _points(history: Path) -> Iterator[Point]:
    for line in history.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):  # being written at this moment
            return
        entry: Mapping[str, Any] = json.loads(line)
        for name, value in entry["metrics"].items():
            yield Point(curve_name(name), float(value), int(entry["time"] * 1000), int(entry["step"]))


def curve_name(name: str) -> str:
    """The name of a metric in MLflow, which groups charts by what stands before the slash."""
    split, _, rest = name.partition("_")
    return f"{split}/{rest}" if split in ("train", "validation") and rest else f"train/{name}"


@mlflow_errors
def send_points(settings: Settings, run_id: str, points: list[Point]) -> None:
    """Send points; one that MLflow has already (same name, time, step and value) is not doubled."""
    if not points:
        return
    from mlflow.entities import Metric

    client = open_store(settings)
    for start in range(0, len(points), BATCH):
        batch = points[start : start + BATCH]
        client.log_batch(run_id, [Metric(point.name, point.value, point.time, point.step) for point in batch])
