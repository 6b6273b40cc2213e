"""The command line: quick help, clear errors, exit codes, JSON that a script can read."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.planning import STEPS
from components.step_store import model_lock
from flows import running
from flows.cli import app
from flows.results import RunResult
from tests.deliveries import rows, write_csv, write_run_file

COMMANDS = (
    "init", "schema", "plan", "run", "pretrain", "adapt", "serve", "trial", "feedback", "keys", "predict", "explain",
    "rollback", "models", "ui", "doctor",
)  # fmt: skip
HEAVY = ("torch", "transformers", "datasets", "prefect", "mlflow", "great_expectations", "bentoml", "pandas")


def rebert(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    environment = {**os.environ, "REBERT_HOME": str(folder / "home")}
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "BENTOML_HOME", "PREFECT_HOME"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "flows.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def processor_seconds() -> float:
    """What the processes that this one has started and seen end have taken of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def run_file(tmp_path, tiny_base):
    write_csv(tmp_path / "week-1.csv", rows(60, seed=1))
    write_csv(tmp_path / "test.csv", rows(60, seed=2))
    return write_run_file(tmp_path, tiny_base)


def test_the_version_is_told(tmp_path):
    assert re.fullmatch(r"rebert \d+\.\d+\.\d+\n", rebert("--version", folder=tmp_path).stdout)


def test_help_answers_at_once_and_lists_every_command(tmp_path):
    seconds = []
    for _ in range(5):
        before = processor_seconds()
        done = rebert("--help", folder=tmp_path)
        seconds.append(processor_seconds() - before)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert min(seconds) < 0.3  # half of that, as a rule; a busy machine takes longer by the clock, not of the processor


def test_help_imports_nothing_heavy(tmp_path):
    code = f"import flows.cli, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bad_pretraining_file_names_every_wrong_key_with_its_line_and_exit_code_2(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: Bad\ncorpus: {files: a.txt, from: sentences}\nphases: [{epochs: 0}]\n")
    done = rebert("pretrain", "bad.yaml", "--json", folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    problem = json.loads(done.stdout)["error"]["problem"]
    assert [line.split(": ")[0] for line in problem.splitlines()] == ["bad.yaml:1", "bad.yaml:2", "bad.yaml:3"]
    assert not (tmp_path / "home").exists()


def test_a_bad_run_file_is_two_kinds_of_lines_and_exit_code_2(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: Bad\ndata: {train: a.csv}\nmodel: {base: x, lenght: 3}\n")
    begun = time.perf_counter()
    done = rebert("run", "bad.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("bad.yaml:1: name: string should match pattern")
    assert "unknown key 'model.lenght'; did you mean 'max_length'?" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("To fix: correct these 2 keys")
    assert "Traceback" not in done.stderr
    assert time.perf_counter() - begun < 3.0  # goal 1 s on a quiet machine


def test_a_bad_run_file_has_the_keys_of_every_result(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: reviews\ndata: {train: a.csv}\n")
    result = json.loads(rebert("run", "bad.yaml", "--json", folder=tmp_path).stdout)
    assert set(result) == {field.name for field in fields(RunResult)} | {"error"}
    assert (result["outcome"], result["model"], result["steps"]) == ("failed", None, [])
    assert result["reason"] == result["error"]["problem"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": {"train": "nothing.csv", "test": "test.csv"}}, "nothing.csv"),
        ({"model": {"base": "no/such-model"}}, "no/such-model"),
        ({"model": {"base": "package:no_such_package/model"}}, "no_such_package"),
        ({"training": {"device": "cuda"}}, "no CUDA device"),
    ],
)
def test_what_the_run_file_names_and_is_not_there_gets_one_sentence(run_file, tiny_base, change, expected):
    write_run_file(run_file.parent, tiny_base, **change)
    done = rebert("run", run_file.name, "--json", folder=run_file.parent)
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"]) == (2, "failed"), done.stderr
    assert expected in result["error"]["problem"]
    assert "Traceback" not in done.stderr


def test_a_wrong_column_rejects_the_delivery(run_file, tiny_base):
    write_run_file(run_file.parent, tiny_base, data={"train": "week-1.csv", "columns": {"text": "review"}})
    done = rebert("run", run_file.name, "--json", folder=run_file.parent)
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"]) == (2, "rejected"), done.stderr
    assert "it has: 'text', 'label'" in result["error"]["problem"]
    assert Path(result["report"], "validation.md").exists()
    assert result["run_id"]


def test_plan_does_nothing_and_says_what_a_run_would_do(run_file):
    done = rebert("plan", run_file.name, "--json", folder=run_file.parent)
    plan = json.loads(done.stdout)
    assert {step["action"] for step in plan["steps"]} == {"run"}
    assert [step["name"] for step in plan["steps"]] == list(STEPS)
    assert plan["steps"][0]["reason"] == "never done before"
    assert not (run_file.parent / "home" / "steps").exists()


def test_a_second_run_of_a_model_ends_at_once(run_file):
    with model_lock(run_file.parent / "home" / "locks", "reviews"):
        done = rebert("run", run_file.name, folder=run_file.parent)
    assert done.returncode == 2
    assert f"Another run of 'reviews' is at work (process {os.getpid()})" in done.stderr


def test_a_home_that_cannot_be_written_is_one_sentence(run_file):
    (run_file.parent / "home").write_text("a file where a folder should be")
    done = rebert("run", run_file.name, "--json", folder=run_file.parent)
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "failed"), done.stderr
    assert "cannot be written" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_a_disk_that_gets_full_anywhere_in_a_run_is_one_sentence(run_file, settings, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running, "_execute", full)
    content, code = running.execute_run(run_file, settings)
    assert (code, content["outcome"]) == (2, "failed")
    assert f"The disk that holds {settings.home} is full." in capsys.readouterr().err


@pytest.mark.parametrize("words", [("explain", "nobody"), ("rollback", "nobody"), ("serve", "nobody")])
def test_an_unknown_model_is_named(tmp_path, words):
    done = rebert(*words, folder=tmp_path)
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_models_yet_says_how_to_begin(tmp_path):
    done = rebert("models", folder=tmp_path)
    assert done.returncode == 0
    assert "rebert init" in done.stdout


def test_init_writes_a_run_file_that_plans(tmp_path, tiny_base):
    write_csv(tmp_path / "reviews.csv", rows(200, seed=3))
    done = rebert("init", "reviews.csv", "--base", str(tiny_base), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = rebert("plan", done.stdout.strip(), folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    again = rebert("init", "reviews.csv", folder=tmp_path)
    assert again.returncode == 2
    forced = rebert("init", "reviews.csv", "--base", str(tiny_base), "--force", "--json", folder=tmp_path)
    assert json.loads(forced.stdout) == {"run_file": done.stdout.strip()}
    assert "is there already" in again.stderr


def test_the_schema_is_json_schema_with_every_section():
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert set(schema["properties"]) == {
        "name", "description", "task_type", "task", "data", "validation", "model", "training", "evaluation", "gate",
        "serving", "monitor", "schedule", "triggers", "retention", "notify",
    }  # fmt: skip
    assert all("description" in item or "$ref" in item for item in schema["properties"].values())


def test_a_bug_is_a_traceback_and_exit_code_1(tmp_path):
    code = (
        "import flows.cli, flows.commands\n"
        "def broken(*args): raise KeyError('review')\n"
        "flows.commands.list_models = broken\n"
        "flows.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "models"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_a_run_leaves_torch_to_another_process(run_file):
    code = (
        "import sys\nfrom flows.cli import main\n"
        "try:\n    main()\n"
        'finally:\n    sys.stderr.write(f\'here: {sorted({"torch", "transformers"} & set(sys.modules))}\')\n'
    )
    environment = {**os.environ, "REBERT_HOME": str(run_file.parent / "home")}
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "BENTOML_HOME", "PREFECT_HOME"):
        environment.pop(name, None)
    command = [sys.executable, "-c", code, "run", run_file.name]
    done = subprocess.run(command, cwd=run_file.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("promoted"), done.stderr
    assert done.stderr.endswith("here: []")
