"""Training in a process of its own, which can be ended: JSON goes in, JSON lines come out, no pickles.

The parent watches the clock; the child watches the parent, and dies with it. What the child prints is in
`training.log`; its `ProjectError`s are raised again in the parent as they were.
"""

from __future__ import annotations

import json
import logging
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from components import errors
from components.config import RunConfig, Training
from components.errors import ProjectError, TrainingError
from components.garbage import collect_rarely
from components.priority import give_way
from components.records import BaseModel, TokenizedDataset, TrainedModel, ValidatedDataset, as_json
from components.settings import Settings, environment_of, without_secrets
from components.training.devices import choose_device
from components.training.training_history import Progress

JOB = "training_job.json"
LOG = "training.log"
PIPE = "messages"  # of several processes
FINE_TUNING = "components.training.training_process:fine_tune"
PARENT_SECONDS = 1.0  # between two looks at whether the launcher is there
GRACE_SECONDS = 10.0  # between asking a training to end and ending it
LOG_TAIL_LINES = 15
CHILD = (
    sys.executable,
    "-m",
    "components.training.training_process",
)  # then the job file and the pipe's number or path

Record = TypeVar("Record")
ProgressListener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Launch:
    """Processes that train together, started by torch's elastic launcher; a machine that meets others names where."""

    processes: int = 1
    machines: int = 1
    meeting_point: str | None = None  # HOST:PORT
    restarts: int = 3

    @property
    def alone(self) -> bool:
        return self.processes * self.machines == 1


@dataclass(frozen=True, slots=True)
class Order:
    """Work for a child process.

    Args:
        work: `module:function`; gets the job's content and a listener, and returns a `TrainedModel`.
        name: of the model, for messages.
        training: device, precision and time limit.
        content: what the function needs beside its folder, as JSON.
    """

    work: str
    name: str
    training: Training
    content: Mapping[str, Any]
    launch: Launch = Launch()


def train_in_process(
    config: RunConfig,
    tokens: TokenizedDataset,
    base: BaseModel,
    dataset: ValidatedDataset,
    folder: Path,
    *,
    settings: Settings | None = None,
    on_progress: ProgressListener | None = None,
) -> TrainedModel:
    """What `train_model` makes, made in a child process within `training.max_hours`.

    Raises:
        TrainingError: the time was up, the system killed the process, or the training itself failed.
        StorageError: the disk is full.
    """
    content = {"config": config.model_dump(mode="json"), "config_folder": str(config.folder)}
    records = {"tokens": as_json(tokens), "base": as_json(base), "dataset": as_json(dataset)}
    order = Order(FINE_TUNING, config.name, config.training, {**content, **records})
    return run_in_process(order, folder, settings=settings, on_progress=on_progress)


def run_in_process(
    order: Order, folder: Path, *, settings: Settings | None = None, on_progress: ProgressListener | None = None
) -> TrainedModel:
    """The record of an order's work, done in a child process within its time limit.

    Raises:
        TrainingError: the time was up, the system killed the process, or the training itself failed.
        StorageError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = {"work": order.work, **order.content, "folder": str(folder)}
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    threads = max(1, choose_device(order.training).threads // order.launch.processes)
    with _child(order.launch, folder, child_environment(threads, settings)) as (process, messages):
        deadline = time.monotonic() + order.training.max_hours * 3600
        result = _follow(messages, deadline, on_progress)
        if result is None and time.monotonic() >= deadline:
            raise _out_of_time(order)
        _end(process, patience=GRACE_SECONDS)
    if result is None:
        raise _died(order, process.returncode, folder / LOG)
    (folder / JOB).unlink()
    return record(TrainedModel, result)


def child_environment(threads: int, settings: Settings | None) -> dict[str, str]:
    """Variables of the child: one OpenMP team of that many threads, a heap that keeps its memory, no progress bars."""
    return {
        **without_secrets({**os.environ, **(environment_of(settings) if settings else {})}),
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


@contextmanager
def _child(
    launch: Launch, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """The running child and its messages; at the end it has ended, whatever happened here."""
    if launch.alone:
        reading, writing = os.pipe()
        command = [*CHILD, str(folder / JOB), str(writing)]
    else:
        reading, writing = _named_pipe(folder / PIPE)
        command = [*_launcher(launch), *CHILD[1:], str(folder / JOB), str(folder / PIPE)]
    with (folder / LOG).open("ab") as log_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed by the system when this process dies: the child then ends itself
            stdout=log_file,
            stderr=log_file,
            env=dict(environment),
            pass_fds=(writing,),
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", buffering=0) as messages:
            yield process, messages
    finally:
        _end(process, patience=0)
        (folder / PIPE).unlink(missing_ok=True)


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


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait so long for a process to end by itself, then ask it to, then make it."""
    if not _ended(process, patience):
        process.terminate()
    if not _ended(process, GRACE_SECONDS):
        process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _follow(messages: BinaryIO, deadline: float, on_progress: ProgressListener | None) -> dict[str, Any] | None:
    """Read the child's messages; its result, or None when it ended without one or the time is up."""
    for line in _lines(messages, deadline):
        message = json.loads(line)
        if "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        if "error" in message:
            raise _as_raised(message["error"])
        if on_progress is not None:
            on_progress(Progress(**message["progress"]))
    return None


def _lines(messages: BinaryIO, deadline: float) -> Iterator[bytes]:
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


def _out_of_time(order: Order) -> TrainingError:
    return TrainingError(
        f"The training of '{order.name}' was stopped after training.max_hours, {order.training.max_hours:g}.",
        "raise training.max_hours or lower training.epochs; the same settings go on from the last checkpoint.",
    )


def _died(order: Order, code: int, log_file: Path) -> Exception:
    if code == -signal.SIGKILL:
        return TrainingError(
            f"The training of '{order.name}' was killed by the system, probably because memory ran out.",
            "halve training.batch_size and double training.accumulation_steps, or lower model.max_length.",
        )
    tail = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return RuntimeError(f"The training process ended with code {code}; {log_file} ends with:\n" + "\n".join(tail))


def _as_raised(error: Mapping[str, Any]) -> ProjectError:
    kind: type[ProjectError] = getattr(errors, error["class"])
    return kind(error["problem"], error["hint"])


def record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A record from its JSON values."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(values)


def main(job_file: Path, messages: int | Path) -> None:
    """The child: train as the job says and report through the pipe; of several on a machine the first one reports."""
    collect_rarely()
    give_way()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    job = json.loads(job_file.read_bytes())
    if os.environ.get("LOCAL_RANK", "0") != "0" or (isinstance(messages, Path) and not messages.exists()):
        _work(job, None)  # what goes wrong here is seen by the launcher
        return
    with open(messages, "w", encoding="utf-8", buffering=1) as pipe:  # noqa: PTH123 - a path or a number

        def say(name: str, content: Mapping[str, Any]) -> None:
            pipe.write(json.dumps({name: content}) + "\n")

        try:
            result = _work(job, lambda now: say("progress", asdict(now)))
        except ProjectError as error:
            say("error", {"class": type(error).__name__, "problem": error.problem, "hint": error.hint})
        else:
            say("result", as_json(result))


def _work(job: Mapping[str, Any], progress: ProgressListener | None) -> TrainedModel:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    module, _, function = job.get("work", FINE_TUNING).partition(":")
    trained: TrainedModel = getattr(import_module(module), function)(job, progress)
    return trained


def fine_tune(job: Mapping[str, Any], progress: ProgressListener | None) -> TrainedModel:
    """The work of a fine-tuning."""
    from components.training.fine_tuning import train_model

    config = RunConfig.model_validate({**job["config"], "folder": job["config_folder"]})
    tokens, base = record(TokenizedDataset, job["tokens"]), record(BaseModel, job["base"])
    return train_model(config, tokens, base, record(ValidatedDataset, job["dataset"]), Path(job["folder"]), progress)


def _die_with_parent() -> None:
    """End when the parent ends: it holds the other end of the standard input; an elastic launcher only starts us."""
    parent = os.getppid()
    while os.getppid() == parent:
        if select.select([0], [], [], PARENT_SECONDS)[0] and not os.read(0, 1):
            break
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2].isdigit() else Path(sys.argv[2]))
