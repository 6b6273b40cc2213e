"""Learning curves: known curves are found again, forecasts cover the truth, and nothing is said far beyond the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import RunConfig
from components.errors import ConfigError
from components.labelling import curve_points
from components.labelling.curve_points import Points, Work, can_be_proxied, measure
from components.labelling.label_value import conclude, estimate_value, write_value
from components.labelling.learning_curve import DRAWS, Curve, fit_curve, forecast, nested_sizes
from components.models.base_models import resolve_base_model
from components.records import BaseModel, ValidatedDataset
from components.task_types import find_task_type

SIZES = [200, 320, 500, 800, 1250, 2000]
TRUE = Curve(ceiling=0.92, gap=0.07, decay=0.6, now=2000)
BASE = BaseModel("x", Path(), "base", "")


def test_a_known_curve_is_found_again():
    found = fit_curve(SIZES, [TRUE.at(size) for size in SIZES], 2000)
    assert (found.ceiling, found.gap, found.decay) == pytest.approx((0.92, 0.07, 0.6), abs=1e-3)
    assert found.at(4000) == pytest.approx(0.92 - 0.07 * 2**-0.6, abs=1e-4)


def test_scores_that_fall_with_more_rows_promise_nothing():
    curve = fit_curve(SIZES, [0.8, 0.79, 0.78, 0.77, 0.76, 0.75], 2000)
    assert curve.at(4000) - curve.at(2000) == pytest.approx(0, abs=2e-3)


def test_the_interval_covers_the_true_gain_about_as_often_as_it_says():
    """40 made-up curves, measured with a known noise."""
    generator = np.random.default_rng(1)
    truth = TRUE.at(4000) - TRUE.at(2000)
    covered = 0
    for _ in range(40):
        means = np.array([TRUE.at(size) for size in SIZES]) + generator.normal(0, 0.003, len(SIZES))
        draws = means + generator.normal(0, 0.003, (60, len(SIZES)))
        (found,) = forecast(SIZES, draws, means.tolist(), [2000])
        covered += found.low <= truth <= found.high
    assert covered >= 32  # 80 %: of a percentile bootstrap over six points no more can be asked


def test_parts_grow_by_about_the_same_factor_up_to_all_rows():
    sizes = nested_sizes(2000, 20, 6)
    assert (sizes[0], sizes[-1], len(sizes)) == (200, 2000, 6)
    factors = np.divide(sizes[1:], sizes[:-1])
    assert factors.max() - factors.min() < 0.05
    assert nested_sizes(30, 40, 6) == [30]


def separable(rows: int, seed: int, difficulty: float = 1.1):
    """Vectors of three groups with so much noise that more rows help, and their labels."""
    generator = np.random.default_rng(seed)
    group = generator.integers(0, 3, rows)
    vectors = np.zeros((rows, 30), np.float32)
    vectors[np.arange(rows), group] = 1
    return vectors + difficulty * generator.normal(size=vectors.shape).astype(np.float32), group


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Validated rows whose texts name their vectors, so that no model is needed."""
    vectors, group = separable(1200, seed=0)
    other, truth = separable(400, seed=1)
    known = np.vstack([vectors, other])
    monkeypatch.setattr(curve_points, "embed_texts", lambda _base, texts, *_: known[[int(text) for (text,) in texts]])
    folder = tmp_path / "validated"
    folder.mkdir()
    for split, codes, start in (("train", group, 0), ("validation", truth, len(group)), ("test", truth[:1], 0)):
        rows = [{"row_id": f"{n}", "text": str(start + n), "label": f"label {code}"} for n, code in enumerate(codes)]
        pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")
    labels = tuple(f"label {code}" for code in range(3))
    dataset = ValidatedDataset(folder, "data", {"train": 1200, "validation": 400, "test": 1}, labels, 0, {}, ())
    content = {"name": "shop", "data": {"train": "x.csv"}, "model": {"base": "x"}}
    return Work(RunConfig.model_validate(content), dataset, BASE, tmp_path / "scratch")


def test_what_is_forecast_at_half_of_the_rows_is_what_is_measured_at_all(work):
    told: list[str] = []
    halves = measure(work, "embeddings", nested_sizes(600, 20, 6), 3, lambda _n, _all, text: told.append(text))
    assert len(told) == 18
    value = conclude(halves, "embeddings", "accuracy", 600)
    whole = measure(work, "embeddings", [1200], 2, lambda *_: None).scores.mean()
    gained = value.forecasts[-1]
    assert value.curve.at(600) < value.curve.at(1200)
    assert value.curve.at(1200) == pytest.approx(whole, abs=0.03)
    assert gained.low <= whole - value.curve.at(600) <= gained.high + 0.02
    assert value.sentence.startswith("600 more labelled rows like these are expected to bring +")
    assert "a proxy: a linear model on the base model's embeddings" in value.sentence


def test_the_same_rows_and_seeds_say_the_same(work):
    first, again = (measure(work, "embeddings", [300, 1200], 2, lambda *_: None) for _ in range(2))
    assert first.scores.tolist() == again.scores.tolist()
    assert first.draws.tolist() == again.draws.tolist()
    assert first.draws.shape == (DRAWS, 2)
    assert first.scores[1, 0] == first.scores[1, 1]  # of all rows there is one model


def test_nobody_is_told_about_more_than_twice_the_rows(work):
    with pytest.raises(ConfigError, match="A curve of 1,200 rows says nothing about 5,000 more") as caught:
        estimate_value(work, "embeddings", 5000, 3, lambda *_: None)
    assert caught.value.hint == "ask for at most as many as there are: --rows 1200."


def test_too_few_rows_are_told_before_anything_is_learned(work):
    from dataclasses import replace

    few = replace(work, dataset=replace(work.dataset, rows={"train": 20, "validation": 400}))
    with pytest.raises(ConfigError, match="20 training and 400 validation rows are too few for a learning curve"):
        estimate_value(few, "embeddings", None, 3, lambda *_: None)


def test_types_without_a_proxy_say_what_to_do(work):
    from dataclasses import replace

    assert [can_be_proxied(find_task_type(name)) for name in ("multi_label", "regression", "token_classification")] == [
        True, True, False,
    ]  # fmt: skip
    content = {**work.config.model_dump(), "task_type": "token_classification"}
    other = replace(work, config=RunConfig.model_validate(content))
    with pytest.raises(ConfigError, match="there is no proxy for its learning curve") as caught:
        measure(other, "embeddings", [300], 2, lambda *_: None)
    assert caught.value.hint == "add --method fine-tuning, which trains for each point."


def test_the_table_the_picture_and_the_numbers_say_the_same(tmp_path):
    scores = np.array([[TRUE.at(size) - 0.01, TRUE.at(size) + 0.01] for size in SIZES])
    draws = scores.mean(axis=1) + np.random.default_rng(0).normal(0, 0.002, (50, len(SIZES)))
    value = conclude(Points(tuple(SIZES), scores, draws, 500), "fine-tuning", "accuracy", 1000)
    files = write_value(value, tmp_path / "out")
    assert {path.name for path in files} == {f"label_value.{kind}" for kind in ("json", "md", "csv", "png")}
    assert (tmp_path / "out" / "label_value.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(tmp_path / "out" / "label_value.csv")
    assert table["rows"].tolist() == SIZES
    assert table["score"].tolist() == pytest.approx(scores.mean(axis=1), abs=1e-4)
    content = json.loads((tmp_path / "out" / "label_value.json").read_text())
    assert content["forecasts"][-1]["more"] == 1000
    assert content["forecasts"][-1]["gain"] == pytest.approx(TRUE.at(3000) - TRUE.at(2000), abs=1e-3)
    assert value.held_back == pytest.approx(TRUE.at(2000), abs=1e-3)
    assert f"**{value.sentence}**" in (tmp_path / "out" / "label_value.md").read_text()


def test_a_gain_that_may_be_none_is_called_unsure():
    scores = np.full((len(SIZES), 2), 0.8)
    draws = 0.8 + np.random.default_rng(0).normal(0, 0.01, (60, len(SIZES)))
    value = conclude(Points(tuple(SIZES), scores, draws, 500), "embeddings", "accuracy", 1000)
    assert "the interval reaches zero, so that no gain is sure" in value.sentence


@pytest.mark.slow
def test_fine_tuning_learns_more_from_more_rows_as_a_run_would(tiny_base, tmp_path):
    """Two points of a tiny model: the same code as a run's, in child processes, on nested parts of the rows."""
    from tests.deliveries import rows

    folder = tmp_path / "validated"
    folder.mkdir()
    for split, content in (("train", rows(300, seed=2)), ("validation", rows(100, seed=3)), ("test", rows(5, seed=4))):
        table = pd.DataFrame(content, columns=["text", "label"])
        table.assign(row_id=[f"{split}:{n}" for n in range(len(table))]).to_parquet(folder / f"{split}.parquet")
    counts = {"train": 300, "validation": 100, "test": 5}
    dataset = ValidatedDataset(folder, "data", counts, ("neg", "pos"), 0, {}, ())
    content = {
        "name": "shop",
        "data": {"train": "x.csv"},
        "model": {"base": str(tiny_base), "max_length": 32},
        "training": {"epochs": 4, "learning_rate": 0.005, "batch_size": 16, "device": "cpu", "precision": "fp32"},
    }
    base = resolve_base_model(str(tiny_base), tmp_path, None)
    work = Work(RunConfig.model_validate(content), dataset, base, tmp_path / "scratch")
    points = measure(work, "fine-tuning", [16, 300], 1, lambda *_: None)
    assert points.scores[1, 0] > 0.8 > points.scores[0, 0]
    assert points.judged_on == 100
