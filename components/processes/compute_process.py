"""The parent's side: a process that computes, is ended when its time is up, and dies with this one.

It may be started before there is an order for it: importing torch takes as long as validating a delivery does.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from components.config import Training
from components.errors import TrainingError
from components.processes import ending
from components.processes.ending import end_process
from components.processes.orders import Order, ProgressListener, Record, error_of, record, write_job
from components.settings import Settings, environment_of, without_secrets
from components.training.devices import choose_device
from components.training.training_history import Progress

LOG_TAIL_LINES = 15
CHILD = (sys.executable, "-m", "components.processes.child")  # then the pipe, and a job for one that does no other


class ComputeProcess:
    """Does orders one after the other, each training in a process that has not trained before.

    Use it as a context manager, or call `end`.

    Args:
        training: device and precision, from which the threads follow.
        settings: where folders are; None for what the environment says.
    """

    def __init__(self, training: Training, settings: Settings | None = None) -> None:
        self.training = training
        self.settings = settings
        self.child: Child | None = None
        self.has_trained = False

    def start(self) -> Child:
        """Let the process start, if it is not there, and import its libraries; returns at once."""
        if self.child is None:
            threads = choose_device(self.training).threads
            self.child, self.has_trained = Child(child_environment(threads, self.settings)), False
        return self.child

    def do(self, order: Order, folder: Path, kind: type[Record], on_progress: ProgressListener | None = None) -> Record:
        """The record of an order's work.

        Raises:
            TrainingError: the time was up, or the system killed the process.
            ProjectError: what the work raised.
        """
        if order.trains and self.has_trained:
            self.end()
        child = self.start()
        self.has_trained = self.has_trained or order.trains
        try:
            result = child.do(order, folder, on_progress)
        except BaseException:
            self.end()  # it may be anywhere in its work
            raise
        return record(kind, result)

    def end(self) -> None:
        """End the process, if it is there."""
        if self.child is not None:
            self.child.end()
            self.child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class Child:
    """A running process, its orders and its messages."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.first_log = tempfile.TemporaryFile()  # noqa: SIM115 - of what it prints before its first order
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [*CHILD, str(writing)],
            stdin=subprocess.PIPE,  # closed by the system when this process dies: the child then ends itself
            stdout=self.first_log,
            stderr=self.first_log,
            env=dict(environment),
            pass_fds=(writing,),
        )
        os.close(writing)
        self.orders = cast(BinaryIO, self.process.stdin)
        self.messages = os.fdopen(reading, "rb", buffering=0)

    def do(self, order: Order, folder: Path, on_progress: ProgressListener | None) -> Any:
        """The JSON of what the work returned; the process is as good as ended where this raises."""
        job, log = write_job(order, folder), folder / order.log
        deadline = time.monotonic() + order.max_hours * 3600
        self._tell({"job": str(job), "log": str(log)})
        result = follow(self.messages, deadline, on_progress)
        if result is None and time.monotonic() >= deadline:
            raise out_of_time(order)
        if result is None:
            end_process(self.process, patience=ending.GRACE_SECONDS)
            raise died(order, self.process.returncode, self._log_of(log))
        job.unlink()
        return result

    def end(self) -> None:
        """End it; one that has nothing to do ends by itself when its orders end."""
        with suppress(BrokenPipeError):  # it has died with an order unread
            self.orders.close()
        end_process(self.process)
        self.messages.close()
        self.first_log.close()

    def _tell(self, order: Mapping[str, str]) -> None:
        with suppress(BrokenPipeError):  # it has died, which its messages tell
            self.orders.write(json.dumps(order).encode() + b"\n")
            self.orders.flush()

    def _log_of(self, log: Path) -> Path:
        """The log, with what was printed before its first order where it never began one."""
        if not log.exists():
            self.first_log.seek(0)
            log.write_bytes(self.first_log.read())
        return log


def child_environment(threads: int, settings: Settings | None) -> dict[str, str]:
    """Variables of the child: those of this process and of its settings without secrets, and what makes it fast."""
    inherited = {**os.environ, **(environment_of(settings) if settings else {})}
    return {**without_secrets(inherited), **fast_environment(threads)}


def fast_environment(threads: int) -> dict[str, str]:
    """One OpenMP team of that many threads, a heap that keeps its memory, no progress bars: the same on any machine."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Waiting threads spin for half a millisecond, not for fifteen: beside other programs that is ten times faster.
        "GOMP_SPINCOUNT": "10000",
        # The C library keeps what a step frees for the next step, instead of getting fresh pages from the system.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        # Each length of a batch has products of its own; with room for a thousand they are compiled again and again.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192",
        # torch 2.13's launcher keeps one store of addresses over its restarts: a started-again process may find the
        # address of a dead one there and wait half an hour for it. So every start gets a store of its own.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONUNBUFFERED": "1",
    }


def follow(messages: BinaryIO, deadline: float, on_progress: ProgressListener | None) -> Any:
    """Read a child's messages; the result of its order, or None when it ended without one or the time is up."""
    for line in lines(messages, deadline):
        message = json.loads(line)
        if "result" in message:
            return message["result"]
        if "error" in message:
            raise error_of(message["error"])
        if on_progress is not None:
            on_progress(Progress(**message["progress"]))
    return None


def lines(messages: BinaryIO, deadline: float) -> Iterator[bytes]:
    """Whole lines of a pipe, until it is closed or the time is up."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(messages, selectors.EVENT_READ)
        # The clock is asked as well: a child that never stops talking has always something to be read.
        while time.monotonic() < deadline and selector.select(timeout=deadline - time.monotonic()):
            part = messages.read(65536)
            if not part:
                return
            *whole, rest = (rest + part).split(b"\n")
            yield from whole


def out_of_time(order: Order) -> TrainingError:
    """What is said of an order that took too long."""
    return TrainingError(f"{order.subject} was stopped after {order.limit}.", order.when_late)


def died(order: Order, code: int, log: Path) -> Exception:
    """What is said of a process that ended without a result: a bug, unless the system killed it."""
    if code == -signal.SIGKILL:
        return TrainingError(
            f"{order.subject} was killed by the system, probably because memory ran out.", order.when_killed
        )
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return RuntimeError(f"The process ended with code {code}; {log} ends with:\n" + "\n".join(tail))
