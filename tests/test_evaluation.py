"""The report on a model: its digest stands for every file of it."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from components.config import Evaluation
from components.reports.evaluation import evaluate_model
from tests.bundles import LABELS, TEXTS, build_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def evaluated(tmp_path, model):
    rows = [
        {"row_id": f"test.csv:{n}", "text": text, "label": LABELS[n % 3], "desk": "ab"[n % 2]}
        for n, text in enumerate(TEXTS * 4)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "test.parquet")

    def evaluate(name, **settings):
        (tmp_path / name).mkdir()
        chosen = Evaluation(slices=("desk",), bootstrap_samples=100, **settings)
        return evaluate_model(model, tmp_path / "test.parquet", chosen, tmp_path / name)

    return evaluate


def test_the_same_rows_and_settings_have_the_same_digest(evaluated):
    assert evaluated("one").digest == evaluated("two").digest


def test_the_mistakes_are_a_table_the_most_confident_first(evaluated):
    folder = evaluated("one").folder
    table = pd.read_csv(folder / "mistakes.csv")
    assert list(table.columns) == ["row_id", "text", "label", "predicted", "score"]
    assert len(table) > 1
    assert (table["label"] != table["predicted"]).all()
    assert table["score"].is_monotonic_decreasing
    assert table.to_dict("records") == json.loads((folder / "report.json").read_text())["mistakes"]


def test_the_report_counts_rows_in_several_windows_and_rows_that_are_cut(evaluated):
    metrics = evaluated("one").metrics
    assert metrics["cut_share"] == 0
    assert 0 <= metrics["windowed_share"] <= 1


def test_rows_of_two_documents_have_wide_intervals(evaluated):
    rows, documents = evaluated("rows"), evaluated("documents", documents="desk")
    assert documents.metrics == rows.metrics
    widths = [high - low for low, high in (rows.intervals["accuracy"], documents.intervals["accuracy"])]
    assert widths[0] != widths[1]
    scores = pd.read_parquet(documents.folder / "predictions.parquet").groupby("desk")["correct"].mean()
    assert documents.intervals["accuracy"] == pytest.approx((scores.min(), scores.max()))


def test_slices_that_are_judged_otherwise_are_another_report(evaluated):
    lenient, strict = evaluated("lenient", min_slice_rows=5), evaluated("strict", min_slice_rows=50)
    assert lenient.metrics == strict.metrics
    assert lenient.digest != strict.digest
