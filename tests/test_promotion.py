"""The gate: what it promotes, what it refuses, and that it says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import Gate
from components.errors import DataError
from components.records import EvaluationReport
from components.reports.promotion import decide_promotion

ROWS = 400


def report(
    folder: Path, right: np.ndarray, *, metric: str = "accuracy", slices: list | None = None, digest: str = "rows"
) -> EvaluationReport:
    """A report on ROWS rows of two labels, of which `right` are answered rightly."""
    folder.mkdir(parents=True)
    truth = np.where(np.arange(len(right)) % 2, "yes", "no")
    predicted = np.where(right, truth, np.where(truth == "yes", "no", "yes"))
    pd.DataFrame(
        {
            "row_id": [f"test.csv:{n}" for n in range(len(right))],
            "text": "a text",
            "label": truth,
            "predicted": predicted,
            "score": 0.9,
            "quality": right.astype(float),
            "correct": right,
        }
    ).to_parquet(folder / "predictions.parquet")
    (folder / "report.json").write_text(json.dumps({"slices": slices or []}))
    share = float(right.mean())
    return EvaluationReport(
        folder,
        f"answers of {folder.name}",
        folder.name,
        digest,
        "text_classification",
        len(right),
        metric,
        {"accuracy": share, metric: share},
        {},
    )


def right(wrong: int, first: int = 0) -> np.ndarray:
    answers = np.ones(ROWS, dtype=bool)
    answers[first : first + wrong] = False
    return answers


def decide(tmp_path, candidate, champion, gate=None):
    folder = tmp_path / "decision"
    folder.mkdir()
    return decide_promotion(candidate, champion, 3 if champion else None, gate or Gate(), folder)


def test_the_first_model_goes_live_above_the_floor(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(40)), None, Gate(floor=0.9))
    assert decision.promote
    assert decision.reason == "Promoted as the first champion: accuracy 0.9000, at least 0.9000 is asked for."


def test_the_first_model_does_not_go_live_below_the_floor(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(41)), None, Gate(floor=0.9))
    assert not decision.promote
    assert decision.reason.startswith("Refused by floor: accuracy 0.8975")


def test_a_clearly_better_candidate_is_promoted(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), report(tmp_path / "b", right(60)))
    assert decision.promote
    assert decision.test == "exact McNemar test"
    assert decision.p_value == pytest.approx(0.5**40)
    assert decision.difference == pytest.approx(0.1)


def test_a_candidate_that_is_better_by_chance_is_refused(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(50)), report(tmp_path / "b", right(50, first=47)))
    assert not decision.promote
    assert "Refused by superiority" in decision.reason


def test_the_same_answers_are_no_improvement(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(50)), report(tmp_path / "b", right(50)))
    assert not decision.promote
    assert decision.p_value == 1.0


def test_a_margin_asks_for_more(tmp_path):
    ours, theirs = report(tmp_path / "a", right(20)), report(tmp_path / "b", right(40))
    (tmp_path / "one").mkdir()
    assert decide_promotion(ours, theirs, 3, Gate(), tmp_path / "one").promote
    refused = decide(tmp_path, ours, theirs, Gate(margin=0.05))
    assert not refused.promote
    assert refused.test == "Tango score test"


def test_non_inferiority_lets_an_equal_model_pass(tmp_path):
    gate = Gate(mode="non_inferiority", margin=0.02)
    decision = decide(tmp_path, report(tmp_path / "a", right(50)), report(tmp_path / "b", right(50, first=1)), gate)
    assert decision.promote


def test_macro_f1_is_compared_by_a_paired_bootstrap(tmp_path):
    ours = report(tmp_path / "a", right(20), metric="macro_f1")
    decision = decide(tmp_path, ours, report(tmp_path / "b", right(60), metric="macro_f1"))
    assert decision.promote
    assert decision.test == "paired bootstrap"
    low, high = decision.interval
    assert low < decision.difference < high


def test_a_drop_on_a_slice_stops_a_better_candidate(tmp_path):
    before = [{"column": "language", "value": "zh", "rows": 60, "score": 0.9, "judged": True}]
    after = [{"column": "language", "value": "zh", "rows": 60, "score": 0.7, "judged": True}]
    ours = report(tmp_path / "a", right(20), slices=after)
    decision = decide(tmp_path, ours, report(tmp_path / "b", right(60), slices=before))
    assert not decision.promote
    assert "slice language=zh" in decision.reason


def test_a_missing_slice_fails(tmp_path):
    before = [{"column": "language", "value": "zh", "rows": 60, "score": 0.9, "judged": True}]
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), report(tmp_path / "b", right(60), slices=before))
    assert not decision.promote
    assert "no score for it" in decision.reason


def test_a_small_slice_is_not_judged(tmp_path):
    before = [{"column": "language", "value": "zh", "rows": 3, "score": 1.0, "judged": False}]
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), report(tmp_path / "b", right(60), slices=before))
    assert decision.promote


def test_reports_on_other_rows_are_never_compared(tmp_path):
    ours = report(tmp_path / "a", right(20))
    with pytest.raises(DataError, match="scored on different rows"):
        decide(tmp_path, ours, report(tmp_path / "b", right(60), digest="other rows"))


def test_the_decision_is_written_in_numbers_in_words_and_with_its_rows(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), report(tmp_path / "b", right(60)))
    content = json.loads((decision.folder / "decision.json").read_text())
    assert (content["promote"], content["better_rows"], content["worse_rows"]) == (True, 40, 0)
    assert "| superiority | passed |" in (decision.folder / "decision.md").read_text()
    assert len(pd.read_csv(decision.folder / "disagreements.csv")) == 40
