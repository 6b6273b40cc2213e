"""The choice of an engine: the fastest that keeps the limit, else the next more exact one, and torch at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components import tracking
from components.config import Evaluation, RunConfig
from components.models.engines import find_engine, read_facts
from components.models.golden import check_model
from components.models.inference import Predictor, open_predictor
from components.models.model_directory import model_digest, read_golden
from components.monitoring.reference import FOLDER, make_reference, read_reference
from components.records import EvaluationReport, RegisteredVersion, ValidatedDataset
from components.registry import open_store
from components.reports.evaluation import evaluate_model
from components.serving import optimising
from components.serving.bundling import rebuild_bundle
from components.serving.optimising import engines_to_try, optimise_model
from components.serving.releases import Kept, read_bundle_release
from tests.training_data import rows_of, write_dataset

AMX, PLAIN = frozenset({"amx_bf16", "avx512_bf16"}), frozenset({"avx2"})


@pytest.fixture(scope="module")
def judged(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ValidatedDataset, EvaluationReport]:
    """Rows of which a tiny model says the label of each, and so its report: right in all of them."""
    folder = tmp_path_factory.mktemp("judged")
    labels = ("bad", "good", "很好")
    predictor = Predictor.load(tiny_model)

    def labelled(seed: int) -> list[dict[str, str]]:
        rows = rows_of(40, seed)
        return [{**row, "label": answer["label"]} for row, answer in zip(rows, predictor.predict(rows), strict=True)]

    splits = {split: labelled(seed) for split, seed in (("train", 1), ("validation", 2), ("test", 3))}
    dataset = write_dataset(folder / "data", splits, labels)
    (folder / "report").mkdir()
    report = evaluate_model(
        tiny_model, dataset.split_file("test"), Evaluation(bootstrap_samples=100), folder / "report"
    )
    return dataset, report


def config(**serving: Any) -> RunConfig:
    content = {"name": "shop", "data": {"train": "x.csv"}, "model": {"base": "tiny"}, "serving": serving}
    return RunConfig.model_validate(content)


@pytest.mark.parametrize(
    ("wanted", "flags", "order"),
    [
        ("auto", AMX, ("openvino-bf16", "openvino-int8", "openvino", "torch")),
        ("auto", PLAIN, ("openvino-int8", "openvino", "torch")),
        ("openvino-int8", PLAIN, ("openvino-int8", "openvino-bf16", "openvino", "torch")),
        ("openvino", AMX, ("openvino", "torch")),
        ("torch", AMX, ("torch",)),
        ("torch-bf16", AMX, ("torch-bf16", "torch")),
    ],
)
def test_engines_are_tried_from_the_fastest_to_the_most_exact(wanted, flags, order, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(optimising, "cpu_flags", lambda: flags)
    kind = type(find_engine("openvino-bf16"))
    has_bf16 = "amx_bf16" in flags
    monkeypatch.setattr(kind, "is_useful", lambda engine: engine.name != "openvino-bf16" or has_bf16)
    assert engines_to_try(wanted) == order


def test_what_is_served_elsewhere_needs_no_gpu_because_the_training_had_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert engines_to_try("auto")[0].startswith("openvino")
    assert engines_to_try("torch-bf16") == ("torch-bf16", "torch")
    assert engines_to_try("openvino") == ("openvino", "torch")


def test_the_engine_that_is_taken_answers_as_it_was_measured(tiny_model: Path, judged, tmp_path: Path):
    dataset, report = judged
    found = optimise_model(config(engine="openvino"), tiny_model, report, dataset, tmp_path)
    [trial] = found.trials
    assert (found.engine, trial.accepted) == ("openvino", True)
    assert trial.score == pytest.approx(report.metrics["accuracy"])
    assert trial.largest_difference <= find_engine("openvino").drift
    assert trial.megabytes > 0
    assert trial.milliseconds > 0
    predictor = open_predictor(tiny_model, found.engine_folder, threads=1)
    assert check_model(predictor, found.engine_folder) <= predictor.tolerance
    assert {json.dumps(dict(row.row)) for row in read_golden(found.engine_folder)} <= {
        json.dumps(dict(row.row)) for row in read_golden(tiny_model)
    }
    written = json.loads((tmp_path / "engines.json").read_text())
    assert [each["engine"] for each in written["trials"]] == ["openvino"]


def test_the_answers_of_the_engine_are_the_monitors_reference(tiny_model: Path, judged, tmp_path: Path):
    dataset, report = judged
    found = optimise_model(config(engine="openvino"), tiny_model, report, dataset, tmp_path)
    kept = read_reference(found.folder / FOLDER)
    predictor = open_predictor(tiny_model, found.engine_folder, threads=1)
    made = make_reference(predictor, tiny_model, "openvino", dataset.split_file("test"), tmp_path / "again")
    assert kept is not None
    assert (kept.rows, kept.right, kept.engine) == (made.rows, made.right, made.engine)
    pd.testing.assert_frame_equal(kept.table(), made.table(), atol=2e-3)


@pytest.mark.parametrize("name", ["torch-bf16", "openvino-bf16", "openvino-int8"])
def test_engines_that_round_are_taken_where_the_limit_allows_it(tiny_model: Path, judged, tmp_path: Path, name: str):
    dataset, report = judged
    wanted = config(engine=name, max_accuracy_loss=1)
    found = optimise_model(wanted, tiny_model, report, dataset, tmp_path)
    [trial] = found.trials
    assert (found.engine, trial.accepted) == (name, True)
    assert trial.largest_difference <= find_engine(name).drift
    # Its own, not the trained network's: what rounds changes confidences first.
    assert trial.calibration_error == pytest.approx(report.metrics["expected_calibration_error"], abs=0.2)
    assert trial.calibration_error != report.metrics["expected_calibration_error"]
    predictor = open_predictor(tiny_model, found.engine_folder, threads=1)
    assert check_model(predictor, found.engine_folder) <= predictor.tolerance == find_engine(name).tolerance_here()


def test_one_that_loses_too_much_gives_way_to_the_next(tiny_model: Path, judged, tmp_path: Path, monkeypatch):
    """The first engine is made to answer as if it had lost its mind."""
    dataset, report = judged

    def opened(model: Path, engine: Path | None, threads: int) -> Predictor:
        predictor = open_predictor(model, engine, threads)
        if engine and read_facts(engine).engine == "openvino-bf16":
            run = predictor.run
            monkeypatch.setattr(predictor, "run", lambda inputs: -run(inputs))
        return predictor

    monkeypatch.setattr(optimising, "open_predictor", opened)
    limit = 0.001
    found = optimise_model(
        config(engine="openvino-bf16", max_accuracy_loss=limit), tiny_model, report, dataset, tmp_path
    )
    first, second = found.trials
    assert (first.engine, first.accepted) == ("openvino-bf16", False)
    assert "loses" in first.reason or "golden" in first.reason
    assert (second.engine, second.accepted, found.engine) == ("openvino", True, "openvino")
    assert read_facts(found.engine_folder).engine == "openvino"
    assert {path.name for path in tmp_path.iterdir()} == {"engine", "engines.json", "reference"}


def test_where_nothing_else_can_be_built_torch_serves(tiny_model: Path, judged, tmp_path: Path, monkeypatch):
    dataset, report = judged

    def fails(*_: object) -> None:
        raise RuntimeError("an operation that it does not know")

    monkeypatch.setattr(type(find_engine("openvino")), "build", fails)
    found = optimise_model(config(engine="openvino-int8"), tiny_model, report, dataset, tmp_path)
    assert [trial.engine for trial in found.trials] == ["openvino-int8", "openvino-bf16", "openvino", "torch"]
    assert [trial.accepted for trial in found.trials] == [False, False, False, True]
    assert "cannot be built (RuntimeError)" in found.trials[0].reason
    assert (found.engine, found.engine_folder) == ("torch", None)


def test_a_run_keeps_its_engine_for_a_bundle_that_is_built_again(settings, tiny_model: Path, judged, tmp_path: Path):
    dataset, report = judged
    found = optimise_model(config(engine="openvino"), tiny_model, report, dataset, tmp_path)
    run_id = tracking.start_run(settings, config(), "t" * 64)
    assert tracking.fetch_engine(settings, run_id, model_digest(tiny_model)) is None
    tracking.log_engines(settings, run_id, found)
    run = open_store(settings).get_run(run_id)
    assert run.data.tags["engine"] == "openvino"
    assert run.data.metrics["engine/openvino/score"] == pytest.approx(report.metrics["accuracy"])
    assert run.data.metrics["engine/openvino/milliseconds"] > 0
    fetched = tracking.fetch_engine(settings, run_id, model_digest(tiny_model))
    assert read_facts(fetched) == read_facts(found.engine_folder)
    assert tracking.fetch_engine(settings, run_id, "0" * 64) is None
    version = RegisteredVersion("shop", 3, run_id, model_digest(tiny_model), created=True)
    bundle = rebuild_bundle(settings, version, tiny_model, Kept(engine=fetched))
    assert read_bundle_release(bundle.path / "src").engine == "openvino"
    assert read_facts(bundle.path / "src" / "engine") == read_facts(fetched)
    assert not (bundle.path / "src" / "model" / "model.safetensors").exists()


def test_a_limit_of_accuracy_is_a_share():
    with pytest.raises(ValueError, match="max_accuracy_loss"):
        config(max_accuracy_loss=2)
    with pytest.raises(ValueError, match="engine"):
        config(engine="abacus")
