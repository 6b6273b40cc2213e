"""The task type regression: cells of files, correlations against SciPy, the scale, and a model that is trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.config import Evaluation, Training
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import read_manifest
from components.reports.evaluation import evaluate_model
from components.task_types import Fault, Spec, Windows, find_task_type
from tests.training_data import FILLERS, train_small

TYPE = find_task_type("regression")
SPEC = Spec((), 64, 16)
RATING = {"low": 1.0, "high": 5.0}


@pytest.mark.parametrize(
    ("cell", "label"),
    [("3", "3.0"), ("3.5", "3.5"), (" -0.25 ", "-0.25"), ("1e3", "1000.0"), (".5", "0.5"), ("+2.", "2.0")],
)
def test_numbers_are_read(cell: str, label: str):
    assert TYPE.read({"text": "x", "text_pair": "y", "value": cell}, {}) == {
        "text": "x",
        "text_pair": "y",
        "label": label,
    }


@pytest.mark.parametrize(
    "cell",
    [
        None,
        "",
        " ",
        "four",
        "3,5",
        "NaN",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "1e31",
        "true",
        "0x10",
        "1_000",
        "٣",
        "[3]",
    ],
)
def test_what_is_no_number_is_a_fault(cell: str | None):
    fault = TYPE.read({"text": "x", "value": cell}, {})
    assert isinstance(fault, Fault)
    assert fault.check == "not_a_number"


@pytest.mark.parametrize("cell", ["0.99", "5.01", "1000000000.0"])
def test_a_number_out_of_range_is_a_fault(cell: str):
    fault = TYPE.read({"text": "x", "value": cell}, RATING)
    assert isinstance(fault, Fault)
    assert fault.check == "out_of_range"
    assert set(TYPE.faults) == {"not_a_number", "out_of_range"}


@pytest.mark.parametrize("range_", [{"low": 5, "high": 1}, {"low": 1, "high": 1}, {"low": float("nan")}, {"least": 1}])
def test_a_range_that_is_none_is_refused(range_: dict[str, float]):
    with pytest.raises(ValidationError):
        TYPE.settings.model_validate(range_)


def rows_with(numbers: np.ndarray) -> list[dict[str, str]]:
    return [{"label": repr(number)} for number in numbers.tolist()]


def test_the_scale_of_the_training_numbers_is_kept():
    numbers = np.array([100.0, 200.0, 300.0], np.float32)
    assert TYPE.start(numbers, SPEC) == {"slope": pytest.approx(81.65, abs=0.01), "offset": 200.0}
    assert TYPE.start(np.array([7.0, 7.0]), SPEC) == {"slope": 1.0, "offset": 7.0}


@settings(max_examples=100, deadline=None)
@given(st.floats(0.01, 1e4), st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_the_line_to_the_original_units_has_the_least_square_error(slope: float, offset: float, seed: int):
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=50)
    truth = slope * (outputs + generator.normal(0, 0.1, 50)) + offset
    fitted = TYPE.fit(rows_with(truth), outputs.astype(np.float32), SPEC)
    expected = np.polyfit(outputs, truth, 1)
    assert [fitted["slope"], fitted["offset"]] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-3 * slope)


@pytest.mark.parametrize(
    "outputs", [np.ones(50), -np.arange(50.0), np.arange(4.0)], ids=["constant", "turned round", "few"]
)
def test_outputs_that_say_nothing_keep_the_scale_of_the_training(outputs: np.ndarray):
    scale = {"slope": 2.0, "offset": 10.0}
    truth = np.arange(float(len(outputs)))
    assert TYPE.fit(rows_with(truth), outputs, Spec((), 64, 16, {}, scale)) == scale


def test_answers_are_in_the_original_units_and_within_the_range():
    fitted = {"slope": 2.0, "offset": 3.0}
    free = TYPE.answers([{}] * 3, np.array([-4.0, 0.5, 4.0]), Spec((), 64, 16, {"low": None, "high": None}, fitted))
    kept = TYPE.answers([{}] * 3, np.array([-4.0, 0.5, 4.0]), Spec((), 64, 16, RATING, fitted))
    assert [answer["value"] for answer in free] == [-5.0, 4.0, 11.0]
    assert [answer["value"] for answer in kept] == [1.0, 4.0, 5.0]
    assert TYPE.said(free[1]) == "4.0"


def test_targets_are_one_number_a_window():
    assert TYPE.targets([{"label": "2.5"}, {"label": "-1.0"}], Windows([], [0, 0, 1]), SPEC) == [[2.5], [2.5], [-1.0]]


def test_the_loss_is_the_mean_square_error_of_standardised_numbers(tiny_base: Path):
    import torch

    network = TYPE.build_network(tiny_base, Spec((), 64, 16, {}, {"slope": 50.0, "offset": 100.0}))
    loss = TYPE.loss(network, torch.tensor([[0.0], [1.0]]), torch.tensor([100.0, 50.0]), Training(), None)
    assert float(loss) == pytest.approx(2.0)


# --- a model that is trained on counts of words ---


def counted_rows(count: int, seed: int, unit: float = 1) -> list[dict[str, str]]:
    """Rows whose number grows with the share of good words, some of them longer than the model reads at once."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        share, length = draw.random(), draw.choice([6, 10, 60])
        words = [draw.choice(["good", "great"] if draw.random() < share else ["bad", "worst"]) for _ in range(length)]
        words = [draw.choice(FILLERS), *words]
        good = sum(word in ("good", "great") for word in words)
        label = repr(unit * (1 + 4 * good / length))
        rows.append({"row_id": f"made.csv:{number + 2}", "text": " ".join(words), "label": label})
    return rows


def trained_model(folder: Path, base_folder: Path, unit: float = 1) -> Path:
    splits = {"train": counted_rows(200, 1, unit), "validation": counted_rows(50, 2, unit)}
    splits["test"] = counted_rows(60, 3, unit)
    return train_small(
        folder,
        base_folder,
        splits,
        (),
        task_type="regression",
        task={"low": unit, "high": 5 * unit},
        training={"epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu"},
        evaluation={"metric": "pearson"},
    )


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, beside its `data`."""
    return trained_model(tmp_path_factory.mktemp("regression"), tiny_base)


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    return Predictor.load(trained)


def values(predictor: Predictor, rows) -> np.ndarray:
    return np.array([answer["value"] for answer in predictor.predict(rows)])


def test_training_learns_and_the_report_is_in_the_original_units(trained: Path, tmp_path: Path):
    settings = Evaluation(metric="pearson", bootstrap_samples=100)
    report = evaluate_model(trained, trained.parent.parent / "data" / "test.parquet", settings, tmp_path)
    assert report.metrics["pearson"] > 0.8
    assert report.metrics["rmse"] < 0.8
    low, high = report.intervals["spearman"]
    assert low <= report.metrics["spearman"] <= high
    assert json.loads((tmp_path / "report.json").read_text())["errors"][0]["rows"] == 0.5


def test_the_manifest_holds_the_scale(trained: Path):
    manifest = read_manifest(trained)
    assert set(manifest.fitted) == {"slope", "offset"}
    assert manifest.settings == {"low": 1.0, "high": 5.0, "pooling": "cls"}


def test_numbers_of_any_size_are_learned(tiny_base: Path, tmp_path: Path):
    model = trained_model(tmp_path, tiny_base, unit=1e6)
    manifest = read_manifest(model)
    assert manifest.validation_metrics["pearson"] > 0.8
    assert manifest.fitted["slope"] > 1e5
    assert check_model(Predictor.load(model), model) <= TOLERANCE


def test_golden_rows_hold(trained: Path, predictor: Predictor):
    assert check_model(predictor, trained) <= TOLERANCE


def test_a_long_text_is_read_to_its_end(predictor: Predictor):
    start = "bad worst " * 20
    better, worse = values(predictor, [{"text": start + "good great " * 40}, {"text": start}])
    assert better > worse + 1


def test_numbers_of_a_thousand_millions_are_as_easy_as_those_of_one(tiny_base: Path):
    import torch

    numbers = np.array([2e9, 3e9, 5e9], np.float32)
    network = TYPE.build_network(tiny_base, Spec((), 64, 16, {}, TYPE.start(numbers, SPEC)))
    loss = TYPE.loss(network, torch.zeros(3, 1), torch.from_numpy(numbers), Training(), None)
    assert float(loss) == pytest.approx(1.0, rel=1e-3)
