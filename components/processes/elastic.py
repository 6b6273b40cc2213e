"""Several processes that train together, started by torch's elastic launcher, which starts them again when one dies."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from components.config import Training
from components.processes import compute_process, ending
from components.processes.compute_process import child_environment, died, fast_environment, follow, out_of_time
from components.processes.ending import end_process
from components.processes.orders import Order, ProgressListener, Record, record, write_job
from components.settings import Settings
from components.training.devices import choose_device

PIPE = "messages"
NO_PIPE = "none"  # for the machines whose processes report to nobody

log = logging.getLogger("rebert.launch")


@dataclass(frozen=True, slots=True)
class Launch:
    """Processes that train together; a machine that meets others names where."""

    processes: int = 1
    machines: int = 1
    meeting_point: str | None = None  # HOST:PORT
    restarts: int = 3

    @property
    def alone(self) -> bool:
        return self.processes * self.machines == 1


def do_together(
    order: Order,
    launch: Launch,
    training: Training,
    folder: Path,
    kind: type[Record],
    settings: Settings | None = None,
    on_progress: ProgressListener | None = None,
) -> Record:
    """The record of an order's work, done by several processes; the first one reports.

    Raises:
        TrainingError: the time was up, or the system killed the launcher.
        ProjectError: what the work raised.
    """
    job, output = write_job(order, folder), folder / order.log
    threads = max(1, choose_device(training).threads // launch.processes)
    command = [*_launcher(launch), *compute_process.CHILD[1:], str(folder / PIPE), str(job)]
    if launch.machines > 1:
        others = command_elsewhere(launch, job, threads)
        log.warning("This waits for %d more machines; start on each of them:\n%s", launch.machines - 1, others)
    with _launched(command, folder / PIPE, output, child_environment(threads, settings)) as (process, messages):
        deadline = time.monotonic() + order.max_hours * 3600
        result = follow(messages, deadline, on_progress)
        if result is None and time.monotonic() >= deadline:
            raise out_of_time(order)
        end_process(process, patience=ending.GRACE_SECONDS)
    if result is None:
        raise died(order, process.returncode, output)
    job.unlink()
    return record(kind, result)


def command_elsewhere(launch: Launch, job: Path, threads: int) -> str:
    """The command line for each of the other machines; the same installation and job file are in the same places there.

    All launchers must agree on the restarts, and all processes should compute alike.

    Args:
        threads: of each process.
    """
    variables = [f"{name}={value}" for name, value in fast_environment(threads).items()]
    return shlex.join(["env", *variables, *_launcher(launch), *compute_process.CHILD[1:], NO_PIPE, str(job)])


@contextmanager
def _launched(
    command: list[str], pipe: Path, output: Path, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """The running launcher and the messages; at the end it has ended, whatever happened here."""
    reading, writing = _named_pipe(pipe)
    with output.open("ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=dict(environment), pass_fds=(writing,)
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", buffering=0) as messages:
            yield process, messages
    finally:
        end_process(process)
        cast(BinaryIO, process.stdin).close()
        pipe.unlink(missing_ok=True)


def _launcher(launch: Launch) -> list[str]:
    """The start of a command line that runs a module in several processes, and again when one of them has died."""
    elastic = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={launch.processes}"]
    elastic += [f"--max-restarts={launch.restarts}"]
    if launch.machines == 1:
        return [*elastic, "--standalone"]
    meeting = [f"--nnodes={launch.machines}", "--rdzv-backend=c10d", f"--rdzv-endpoint={launch.meeting_point}"]
    return [*elastic, *meeting, "--rdzv-id=rebert"]


def _named_pipe(path: Path) -> tuple[int, int]:
    """Both ends of a pipe that processes which inherit nothing can open; the launcher holds the writing one."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else opening waits for a writer
    return reading, os.open(path, os.O_WRONLY)
