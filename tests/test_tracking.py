"""Runs in MLflow: one for each training, none left open; curves whole whatever MLflow does meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Any

import pandas as pd
import pytest

from components import tracking
from components.config import RunConfig
from components.digests import canonical
from components.errors import RegistryAway, RegistryError, RejectedData, StorageError
from components.records import (
    BaseModel,
    Bundle,
    EvaluationReport,
    PromotionDecision,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from components.registry import open_store
from components.settings import Settings, environment_of
from components.tracking import curves, runs

CONFIG = RunConfig.model_validate(
    {
        "name": "shop",
        "description": "What customers ask.",
        "data": {"train": "train.csv"},
        "model": {"base": "tiny", "max_length": 32},
    }
)


@pytest.fixture
def dataset(tmp_path: Path) -> ValidatedDataset:
    folder = tmp_path / "validated"
    (folder / "report").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        frame = pd.DataFrame({"row_id": ["a.csv:2"], "text": ["很好"], "label": ["good"]})
        frame.to_parquet(folder / f"{split}.parquet")
    (folder / "validation.md").write_text("# all well")
    (folder / "step.json").write_text("{}")
    return ValidatedDataset(
        folder=folder,
        digest="d" * 64,
        rows={"train": 1, "validation": 1, "test": 1},
        labels=("bad", "good"),
        quarantined_rows=2,
        source_digests={"a.csv": "a" * 64},
        checks=(),
    )


@pytest.fixture
def run_id(settings: Settings) -> str:
    return tracking.start_run(settings, CONFIG, "t" * 64)


def run_of(settings: Settings, run_id: str) -> Any:
    return open_store(settings).get_run(run_id)


def write_lines(history: Path, steps: range) -> None:
    with history.open("a") as file:
        for step in steps:
            metrics = {"train_loss": 1 / (step + 1), "learning_rate": 0.1}
            line = {"step": step, "epoch": step / 10, "time": 1000 + step, "metrics": metrics}
            file.write(json.dumps(line) + "\n")


def curve(settings: Settings, run_id: str, name: str) -> list[int]:
    return [point.step for point in open_store(settings).get_metric_history(run_id, name)]


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true within 10 seconds")


def test_the_same_training_has_one_run(settings: Settings, dataset: ValidatedDataset) -> None:
    params = tracking.run_params(CONFIG, dataset, BaseModel("tiny", Path("tiny"), "b" * 64, "k" * 64))
    first = tracking.start_run(settings, CONFIG, "t" * 64, params=params, tags={"data_digest": "d" * 64})
    tracking.finish_run(settings, first)
    again = tracking.start_run(settings, CONFIG, "t" * 64, params=params | {"model.base": "renamed"})
    other = tracking.start_run(settings, CONFIG, "u" * 64)
    assert first == again != other
    run = run_of(settings, first)
    assert run.info.status == "RUNNING"
    assert run.data.params["training.learning_rate"] == "5e-05"
    assert run.data.params["model.base"] == "tiny"
    assert run.data.tags["rebert.data_digest"] == "d" * 64
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(settings.artifacts)


def test_parameters_are_what_a_type_of_model_has(dataset: ValidatedDataset) -> None:
    base = BaseModel("tiny", Path("tiny"), "b" * 64, "k" * 64)
    tagger = CONFIG.model_copy(update={"task_type": "token_classification", "task": {"decoder": "crf"}})
    params = tracking.run_params(tagger, dataset, base)
    assert (params["task_type"], params["task.decoder"]) == ("token_classification", "crf")
    asked = CONFIG.model_copy(update={"task_type": "zero_shot", "task": {"names": {"NUM": "number " * 200}}})
    params = tracking.run_params(asked, dataset, base)
    assert not [name for name in params if name.startswith("training.")]
    assert len(params["task.names"]) == 500
    assert (params["model.window_overlap"], "evaluation.documents" in params) == (8, False)
    passages = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"documents": "title"})})
    assert tracking.run_params(passages, dataset, base)["evaluation.documents"] == "title"


def test_how_rows_are_read_is_a_metric(settings: Settings, run_id: str) -> None:
    rows = {"train": 8, "validation": 4}
    tokens = TokenizedDataset(Path(), "d", rows, rows, rows, {"train": 2}, {"train": 0}, 32, {"train": 1})
    tracking.log_tokens(settings, run_id, tokens)
    found = run_of(settings, run_id).data.metrics
    assert {name: found[name] for name in found if name.startswith("data/")} == {
        "data/train_tokens": 8,
        "data/validation_tokens": 4,
        "data/train_windowed_share": 0.25,
        "data/train_cut_share": 0,
        "data/train_unreachable_share": 0.125,
    }


def test_where_another_machine_was_faster_its_run_is_the_one(settings: Settings, run_id: str) -> None:
    client = open_store(settings)
    experiment = run_of(settings, run_id).info.experiment_id
    found = runs._create(client, experiment, f"tags.`{runs.TRAIN_DIGEST}` = '{'t' * 64}'", "t" * 64)
    assert found.info.run_id == run_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [run_id]


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_is_closed_on_every_way_out(
    settings: Settings, run_id: str, error: BaseException | None, status: str
) -> None:
    with pytest.raises(type(error)) if error else nullcontext(), tracking.running(settings, run_id):
        if error is not None:
            raise error
    assert run_of(settings, run_id).info.status == status


def test_the_error_of_the_work_is_not_hidden_by_an_mlflow_that_is_away(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Settings) -> None:
        raise RegistryError("away", "start it.")

    monkeypatch.setattr(runs, "open_store", away)
    with pytest.raises(ValueError, match="the real one"), tracking.running(settings, run_id):
        raise ValueError("the real one")


def test_good_work_stays_good_when_mlflow_is_away_at_its_end(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: Settings) -> None:
        raise RegistryAway("away", "start it.")

    with tracking.running(settings, run_id):
        monkeypatch.setattr(runs, "open_store", away)
    [line] = caplog.records
    assert line.name == "rebert.tracking"  # below "rebert", where the screen and Prefect listen
    assert "stays open until the next one begins: away" in line.message


def test_every_logger_of_the_components_can_be_heard() -> None:
    components = Path(runs.__file__).parents[1]
    assert not [path for path in components.rglob("*.py") if "getLogger(__name__)" in path.read_text()]


def test_the_heartbeat_is_kept_while_the_work_goes_on(
    settings: Settings, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT_SECONDS", 0.05)
    open_store(settings).set_tag(run_id, "rebert.alive", "long ago")
    with tracking.running(settings, run_id):
        wait_for(lambda: run_of(settings, run_id).data.tags["rebert.alive"] != "long ago")
    assert "rebert.alive" not in run_of(settings, run_id).data.tags


def test_the_run_of_a_dead_process_is_closed_by_the_next(settings: Settings, run_id: str) -> None:
    child = "import os; print(os.getpid())"
    dead = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
    client = open_store(settings)
    client.set_tag(run_id, "rebert.alive", f"{gethostname()} {dead} 1.00 2026-01-01T00:00:00+00:00")
    tracking.start_run(settings, CONFIG, "u" * 64)
    assert run_of(settings, run_id).info.status == "KILLED"
    assert run_of(settings, run_id).data.tags["rebert.closed"] == "its process was gone"
    assert tracking.close_stale_runs(settings, "shop") == []


def test_the_run_of_another_machine_is_closed_when_its_heart_stops(settings: Settings, run_id: str) -> None:
    client = open_store(settings)
    client.set_tag(run_id, "rebert.alive", f"another 7 1.00 {datetime.now(UTC).isoformat()}")
    assert tracking.close_stale_runs(settings, "shop") == []
    client.set_tag(run_id, "rebert.alive", "another 7 1.00 2026-01-01T00:00:00+00:00")
    assert tracking.close_stale_runs(settings, "shop") == [run_id]


def test_curves_are_whole_after_mlflow_was_away_in_the_middle(
    settings: Settings, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.jsonl"
    answers: list[str] = []
    real = curves.open_store

    def flaky(settings: Settings) -> Any:
        answers.append("")
        if 3 <= len(answers) <= 8:
            raise RegistryError("away", "start it.")
        return real(settings)

    monkeypatch.setattr(curves, "open_store", flaky)
    monkeypatch.setattr(curves, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(curves, "LONGEST_PAUSE_SECONDS", 0.1)
    with tracking.LiveCurves(settings, run_id, history):
        for start in range(0, 60, 10):
            write_lines(history, range(start, start + 10))
            time.sleep(0.05)
        wait_for(lambda: len(answers) > 8)
    assert curve(settings, run_id, "train/loss") == list(range(60))
    assert curve(settings, run_id, "train/learning_rate") == list(range(60))


def test_an_answer_that_was_lost_doubles_nothing(
    settings: Settings, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.jsonl"
    write_lines(history, range(20))
    points = curves.new_points(history, {})
    curves.send_points(settings, run_id, points)
    curves.send_points(settings, run_id, points)
    assert tracking.send_history(settings, run_id, history) == 0
    assert curve(settings, run_id, "train/loss") == list(range(20))


def test_steps_that_are_made_again_after_a_resumption_are_not_doubled(
    settings: Settings, run_id: str, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    write_lines(history, range(20))
    tracking.send_history(settings, run_id, history)
    lines = [json.loads(line) | {"time": 9999} for line in history.read_text().splitlines()]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_lines(history, range(20, 25))
    tracking.send_history(settings, run_id, history)
    assert curve(settings, run_id, "train/loss") == list(range(25))


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    write_lines(history, range(2))
    with history.open("a") as file:
        file.write('{"step": 2, "epo')
    assert {point.step for point in curves.new_points(history, {})} == {0, 1}
    assert curves.new_points(tmp_path / "none.jsonl", {}) == []


def test_the_machine_is_watched(settings: Settings, run_id: str, tmp_path: Path) -> None:
    with tracking.LiveCurves(settings, run_id, tmp_path / "history.jsonl"):
        wait_for(lambda: bool(curve(settings, run_id, "system/cpu_utilization_percentage")))
    steps = curve(settings, run_id, "system/cpu_utilization_percentage")
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("train_loss", "train/loss"), ("validation_macro_f1", "validation/macro_f1"), ("grad_norm", "train/grad_norm")],
)
def test_curves_are_grouped_by_split(name: str, shown: str) -> None:
    assert curves.curve_name(name) == shown


def test_a_run_shows_its_data_its_scores_and_the_decision(
    settings: Settings, run_id: str, dataset: ValidatedDataset, tmp_path: Path
) -> None:
    report, trained, decided = outcomes_of_a_run(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "release.json").write_text("{}")
    for _ in range(2):  # a step that is tried again changes nothing
        tracking.log_dataset(settings, run_id, dataset)
        tracking.log_training(settings, run_id, trained)
        tracking.log_evaluation(settings, run_id, report)
        tracking.log_card(settings, run_id, "---\nlicense: unknown\n---\n# 很好\n\n" + "x" * 9000)
        tracking.log_decision(settings, run_id, decided)
        tracking.log_bundle(settings, run_id, Bundle("shop:1", tmp_path, 1, "m" * 64))
    run = run_of(settings, run_id)
    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert sorted(inputs) == ["test", "training", "validation"]
    assert json.loads(inputs["training"].profile)["num_rows"] == 1
    assert "a.csv" in inputs["training"].source
    assert curve(settings, run_id, "test/accuracy") == [0]
    assert run.data.metrics["test/accuracy_low"] == 0.8
    assert run.data.tags["decision"] == "refused"
    assert run.data.tags["mlflow.note.content"].startswith("xxx")
    assert tracking.read_decision(settings, run_id) == {"promote": False}
    found = {path.relative_to(settings.artifacts).as_posix().partition("artifacts/")[2] for path in all_files(settings)}
    assert {"README.md", "validation/validation.md", "evaluation/report.json", "training/history.jsonl"} <= found
    assert not [name for name in found if name.endswith(("train.parquet", "step.json"))]
    assert tracking.fetch_release(settings, run_id) is None  # of another version of rebert


def test_hundreds_of_daily_files_fit_into_what_mlflow_takes(
    settings: Settings, run_id: str, dataset: ValidatedDataset
) -> None:
    days = {f"2026/每日/day-{day:04d}.csv": "a" * 64 for day in range(900)}
    tracking.log_dataset(settings, run_id, replace(dataset, source_digests=days))
    source = json.loads(run_of(settings, run_id).inputs.dataset_inputs[0].dataset.source)
    assert (source["file_count"], len(source["digest"])) == (900, 64)


def test_a_rejected_delivery_stands_in_the_same_columns_as_a_decision(settings: Settings, run_id: str) -> None:
    tracking.log_rejection(settings, run_id, RejectedData("2 rows have no text.", "fill them in."))
    tags = run_of(settings, run_id).data.tags
    assert (tags["decision"], tags["reason"]) == ("rejected", "2 rows have no text.")
    assert not {"rebert.decision", "rebert.reason"} & set(tags)
    assert tracking.read_decision(settings, run_id) is None


def all_files(settings: Settings) -> list[Path]:
    return [path for path in settings.artifacts.rglob("*") if path.is_file()]


def outcomes_of_a_run(folder: Path) -> tuple[EvaluationReport, TrainedModel, PromotionDecision]:
    for name in ("evaluation", "decision"):
        (folder / name).mkdir()
    (folder / "evaluation" / "report.json").write_text("{}")
    (folder / "decision" / "decision.json").write_text(canonical({"promote": False}))
    write_lines(folder / "history.jsonl", range(3))
    report = EvaluationReport(
        folder / "evaluation",
        "e",
        "m",
        "t",
        "text_classification",
        100,
        "accuracy",
        {"accuracy": 0.9},
        {"accuracy": (0.8, 0.95)},
    )
    trained = TrainedModel(folder, "m", folder / "history.jsonl", "cpu", "fp32", 2.0, 60.0, 50.0, {})
    decided = PromotionDecision(
        folder / "decision", False, "no better", "accuracy", 0.9, 1, 0.9, 0.0, None, "t", 1.0, 0.0, 0.95, 100, ()
    )
    return report, trained, decided


def test_an_artifact_folder_that_cannot_be_written_is_named(settings: Settings, run_id: str, tmp_path: Path) -> None:
    settings.artifacts.mkdir(parents=True, exist_ok=True)
    (settings.artifacts / "shop").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        tracking.log_card(settings, run_id, "# card")


def test_nothing_secret_is_logged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2hunter2")
    run_id = tracking.start_run(settings, CONFIG, "v" * 64)
    assert "hunter2" not in json.dumps(run_of(settings, run_id).to_dictionary())
    assert "PASSWORD" not in json.dumps(environment_of(settings))
