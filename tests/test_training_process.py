from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from components.config import Training
from components.digests import digest_file
from components.errors import RejectedData, StorageError, TrainingError
from components.processes import compute_process, ending
from components.processes.compute_process import ComputeProcess, child_environment
from components.processes.orders import Order, error_content, error_of
from components.records import as_json
from components.training.fine_tuning import train_model
from components.training.training_history import Progress
from components.training.training_process import train_in_process
from tests.training_data import small_job

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def job(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory):
    return small_job(tmp_path_factory.mktemp("job"), tiny_base)


def stand_in(monkeypatch, code: str):
    """Let this code be the child; it gets the number of the pipe, and orders on its input."""
    start = "import json, os, signal, sys, time\norder = json.loads(sys.stdin.readline())"
    log = "file = open(order['log'], 'ab')\nos.dup2(file.fileno(), 1)\nos.dup2(file.fileno(), 2)"
    say = "say = lambda x: os.write(int(sys.argv[1]), json.dumps(x).encode() + b'\\n')"
    monkeypatch.setattr(compute_process, "CHILD", (sys.executable, "-c", f"{start}\n{log}\n{say}\n{code}"))


def with_hours(job, hours: float):
    config, *rest = job
    training = config.training.model_copy(update={"max_hours": hours})
    return config.model_copy(update={"training": training}), *rest


def test_a_child_trains_the_same_model_and_reports(job, tmp_path: Path, monkeypatch):
    import torch

    monkeypatch.setattr("components.training.devices.usable_threads", lambda: 1)  # sums differ with the threads
    torch.set_num_threads(1)  # whatever a test before this one has chosen for its engine
    heard: list[Progress] = []
    model = train_in_process(*job, tmp_path / "child", on_progress=heard.append)
    assert model.folder == tmp_path / "child" / "model"
    assert model.digest == train_model(*job, tmp_path / "here").digest
    assert heard[-1].share == 1
    assert heard[-1].text.startswith("step 24/24, loss ")
    assert "CPU with" in (tmp_path / "child" / "training.log").read_text()
    assert sorted(path.name for path in (tmp_path / "child").iterdir()) == ["history.jsonl", "model", "training.log"]


def test_a_childs_error_is_raised_again_as_it_was(job, tmp_path: Path, monkeypatch):
    stand_in(monkeypatch, "say({'error': {'class': 'StorageError', 'problem': 'full.', 'hint': 'free some.'}})")
    with pytest.raises(StorageError) as caught:
        train_in_process(*job, tmp_path)
    assert (caught.value.problem, caught.value.hint) == ("full.", "free some.")


def test_a_child_that_the_system_killed_means_that_memory_ran_out(job, tmp_path: Path, monkeypatch):
    stand_in(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(TrainingError, match="probably because memory ran out"):
        train_in_process(*job, tmp_path)


def test_a_bug_in_the_child_shows_the_end_of_its_log(job, tmp_path: Path, monkeypatch):
    stand_in(monkeypatch, "raise KeyError('oops')")
    with pytest.raises(RuntimeError, match="ended with code 1"):
        train_in_process(*job, tmp_path)
    assert "KeyError: 'oops'" in (tmp_path / "training.log").read_text()


def test_the_clock_ends_a_child_that_does_not_listen(job, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ending, "GRACE_SECONDS", 0.2)
    stand_in(
        monkeypatch, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"stopped after training.max_hours, 0\.0003") as caught:
        train_in_process(*with_hours(job, 0.0003), tmp_path)
    assert time.monotonic() - began < 10
    assert "raise training.max_hours" in caught.value.hint
    assert not psutil.pid_exists(int((tmp_path / "training.log").read_text()))


def test_the_clock_ends_a_child_that_never_stops_talking():
    reading, writing = os.pipe()

    def talk() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
            while True:
                pipe.write(b"{}\n" * 1000)

    talker = threading.Thread(target=talk)
    talker.start()
    began = time.monotonic()
    with os.fdopen(reading, "rb", buffering=0) as messages:
        for _ in compute_process.lines(messages, began + 0.2):
            pass
        assert time.monotonic() - began < 2
    talker.join(10)


def test_a_listener_that_raises_ends_the_child(job, tmp_path: Path, monkeypatch):
    progress = {"step": 1, "steps": 2, "epoch": 0.1, "loss": 1.0, "samples_per_second": 1.0, "seconds_left": 1.0}
    stand_in(monkeypatch, f"print(os.getpid(), flush=True)\nsay({{'progress': {progress}}})\ntime.sleep(60)")

    def listen(_: Progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_process(*job, tmp_path, on_progress=listen)
    assert not psutil.pid_exists(int((tmp_path / "training.log").read_text()))


def test_the_child_dies_with_its_parent(tmp_path: Path):
    child = (
        "import threading, time, os; from components.processes.child import _listen;"
        "threading.Thread(target=_listen, args=(None,), daemon=True).start();"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE);"
        "print(p.stdout.readline().decode(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    gone = time.monotonic() + 5
    while psutil.pid_exists(number) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not psutil.pid_exists(number)


def test_the_child_learns_no_secrets(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:hunter2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.example")
    environment = child_environment(1, None)
    assert "hunter2" not in " ".join(environment.values())
    assert environment["PATH"] == os.environ["PATH"]


def test_the_childs_threads_are_chosen(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    environment = child_environment(3, None)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.slow
def test_twenty_kills_at_any_moment_end_with_the_same_weights(job, tmp_path: Path):
    """SIGKILL at 20 random moments of one training, inside steps, evaluations and saves alike."""
    import random

    config, *rest = job
    training = config.training.model_copy(update={"epochs": 60.0, "early_stopping_patience": None})
    long = (config.model_copy(update={"training": training}), *rest)
    whole = train_model(*long, tmp_path / "whole")
    draw = random.Random(0)
    code = (
        "import sys; from pathlib import Path; from components.training import training_flow;"
        "from components.processes import child;"
        "training_flow.CHECKPOINT_SECONDS = 0.0; child.main(1, Path(sys.argv[1]))"
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    records = dict(zip(("tokens", "base", "dataset"), long[1:], strict=True))
    work = "components.training.training_process:fine_tune"
    content = {"work": work, "config": long[0].model_dump(mode="json"), "folder": str(folder), "config_folder": "."}
    job_file = tmp_path / "job.json"
    job_file.write_text(json.dumps({**content, **{key: as_json(each) for key, each in records.items()}}))
    kills = 0
    while True:
        command = [sys.executable, "-c", code, str(job_file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the first step of this try
            if kills < 20:
                time.sleep(draw.random() * 1.5)
                process.kill()
                kills += process.wait() == -signal.SIGKILL
                continue
            process.stdout.read()
            assert process.wait() == 0
            break
    assert kills == 20
    assert digest_file(folder / "model" / "manifest.json") == whole.digest


def work(what: str, content: dict[str, object] | None = None, **changed: object) -> Order:
    order = Order(f"tests.test_training_process:{what}", content or {}, "The work", 1, "an hour", "", "", "work.log")
    return replace(order, **changed)


@dataclass(frozen=True)
class Said:
    """What a work of these tests returns."""

    pid: int
    value: int = 0


def say_it(job: dict[str, object], _: object) -> Said:
    sys.stdout.write("said\n")
    sys.stdout.flush()
    return Said(os.getpid(), int(str(job.get("value", 0))))


def refuse(_job: object, _: object) -> Said:
    raise TrainingError("No.", "ask again.")


def test_one_process_does_orders_one_after_the_other_with_a_log_each(tmp_path: Path):
    with ComputeProcess(Training()) as process:
        process.start()
        first = process.do(work("say_it", {"value": 1}), tmp_path / "one", Said)
        second = process.do(work("say_it", {"value": 2}), tmp_path / "two", Said)
    assert (first.value, second.value) == (1, 2)
    assert first.pid == second.pid != os.getpid()
    assert [(tmp_path / name / "work.log").read_text() for name in ("one", "two")] == ["said\n", "said\n"]
    assert not psutil.pid_exists(first.pid)


def test_no_process_trains_twice(tmp_path: Path):
    with ComputeProcess(Training()) as process:
        pids = [process.do(work("say_it", trains=trains), tmp_path, Said).pid for trains in (True, False, True)]
    assert pids[0] == pids[1] != pids[2]


def test_after_an_error_another_process_goes_on(tmp_path: Path):
    with ComputeProcess(Training()) as process:
        first = process.do(work("say_it"), tmp_path, Said)
        with pytest.raises(TrainingError, match="No"):
            process.do(work("refuse"), tmp_path, Said)
        assert process.do(work("say_it"), tmp_path, Said).pid != first.pid


def test_a_process_that_died_before_its_first_order_is_told_with_what_it_printed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(compute_process, "CHILD", (sys.executable, "-c", "raise ImportError('no such library')"))
    with ComputeProcess(Training()) as process:
        process.start().process.wait(10)
        with pytest.raises(RuntimeError, match="no such library"):
            process.do(work("say_it"), tmp_path, Said)


def test_a_rejection_keeps_its_report_on_its_way():
    content = error_content(RejectedData("Too many.", "mend them.", report="here"))
    error = error_of(json.loads(json.dumps(content)))
    assert isinstance(error, RejectedData)
    assert (error.problem, error.hint, error.report) == ("Too many.", "mend them.", "here")
