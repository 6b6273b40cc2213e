"""Whether a difference between two base models is shown: over seeds and over rows, and only where both say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.errors import DataError
from components.records import EvaluationReport
from components.reports.adaptation import compare_bases, seed_interval

ROWS = 400


def report(
    folder: Path, right: np.ndarray, test_digest: str = "rows", customers: np.ndarray | None = None
) -> EvaluationReport:
    folder.mkdir(parents=True)
    truths = np.where(np.arange(ROWS) % 2 == 0, "good", "bad")
    said = np.where(right, truths, "other")
    rows = pd.DataFrame({"label": truths, "predicted": said})
    if customers is not None:
        rows["customer"] = customers
    rows.to_parquet(folder / "predictions.parquet")
    content = {"documents": None if customers is None else "customer"}
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    score = float(right.mean())
    return EvaluationReport(
        folder, "d", "m", test_digest, "text_classification", ROWS, "accuracy", {"accuracy": score}, {}
    )


def arms(folder: Path, gains: list[int], *, same_rows: bool = False):
    """Reports of as many seeds as gains; the adapted base is right on so many rows more."""
    before, after = [], []
    for seed, gain in enumerate(gains):
        right = np.random.default_rng(0 if same_rows else seed).random(ROWS) < 0.7
        more = right.copy()
        changed = np.flatnonzero(~right)[:gain] if gain > 0 else np.flatnonzero(right)[:-gain]
        more[changed] = gain > 0
        before.append(report(folder / f"before-{seed}", right))
        after.append(report(folder / f"after-{seed}", more))
    return before, after


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([30, 34, 28, 31, 33], "better"),
        ([-30, -34, -28, -31, -33], "worse"),
        ([0, 0, 0, 0, 0], "no difference shown"),
        ([60, -40, 50, -45, 10], "no difference shown"),  # one seed up, another down
    ],
)
def test_a_difference_must_be_shown_over_seeds_and_over_rows(tmp_path, gains, verdict):
    found = compare_bases(range(len(gains)), *arms(tmp_path, gains), tmp_path)
    assert found.verdict == verdict
    assert found.difference == pytest.approx(np.mean(gains) / ROWS)
    assert json.loads((tmp_path / "adaptation.json").read_text())["verdict"] == verdict
    assert (tmp_path / "adaptation.md").read_text().count("\n| ") == len(gains) + 1


def test_two_rows_are_too_few_however_many_seeds_agree(tmp_path):
    found = compare_bases(range(5), *arms(tmp_path, [2] * 5, same_rows=True), tmp_path)
    assert found.over_seeds[0] > 0
    assert found.over_rows[0] == 0
    assert found.verdict == "no difference shown"


def test_rows_of_few_documents_are_little_evidence(tmp_path):
    """Thirty rows more are right with every seed: of thirty customers that shows it, of three it does not."""
    base = np.zeros(ROWS, bool)
    more = np.arange(ROWS) < 30
    verdicts = {}
    for name, customers in (("many", np.arange(ROWS)), ("few", np.arange(ROWS) // 10)):
        arms = [
            [report(tmp_path / f"{name}-{arm}-{seed}", right, customers=customers) for seed in range(2)]
            for arm, right in (("before", base), ("after", more))
        ]
        verdicts[name] = compare_bases([0, 1], *arms, tmp_path)
    assert verdicts["many"].over_rows[0] > 0
    assert verdicts["few"].over_rows[0] == 0
    assert verdicts["few"].verdict == "no difference shown"


def test_the_interval_over_seeds_is_students():
    # Student's own sleep data (1908), paired: mean 1.58, interval 0.7001 to 2.4599, as R's t.test gives it.
    gaps = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert seed_interval(gaps) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_what_cannot_be_compared_is_refused(tmp_path):
    before, after = arms(tmp_path, [1, 2])
    with pytest.raises(DataError, match="One seed"):
        compare_bases([1], before[:1], after[:1], tmp_path)
    other = report(tmp_path / "other", np.ones(ROWS, bool), test_digest="others")
    with pytest.raises(DataError, match="different frozen rows"):
        compare_bases([1, 2], before, [after[0], other], tmp_path)
