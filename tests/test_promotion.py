"""The gate: what it promotes, what it refuses, and that it says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import ttest_1samp

from components.config import Gate
from components.errors import DataError
from components.records import EngineTrial, EvaluationReport
from components.reports.bundle_rules import Measured, judge_bundle, measure_bundle
from components.reports.comparison import join_answers, p_value_of
from components.reports.promotion import Standard, decide_promotion
from components.task_types import find_task_type

ROWS = 400


def report(
    folder: Path,
    right: np.ndarray,
    *,
    metric: str = "accuracy",
    columns: dict | None = None,
    digest: str = "rows",
    enough: int = 30,
    documents: str | None = None,
) -> EvaluationReport:
    """A report on ROWS rows of two labels, of which `right` are answered rightly, sliced by `columns`."""
    folder.mkdir(parents=True)
    truth = np.where(np.arange(len(right)) % 2, "yes", "no")
    predicted = np.where(right, truth, np.where(truth == "yes", "no", "yes"))
    rows = pd.DataFrame(
        {
            "row_id": [f"test.csv:{n}" for n in range(len(right))],
            "text": "a text",
            "label": truth,
            "predicted": predicted,
            "score": 0.9,
            "quality": right.astype(float),
            "correct": right,
            **(columns or {}),
        }
    )
    rows.to_parquet(folder / "predictions.parquet")
    slices = [
        {
            "column": column,
            "value": value,
            "rows": len(part),
            "score": part["quality"].mean(),
            "judged": len(part) >= enough,
        }
        for column in columns or {}
        for value, part in rows.groupby(column)
    ]
    content = {"slices": slices, "documents": documents, "min_slice_rows": enough}
    (folder / "report.json").write_text(json.dumps(content))
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


def decide(tmp_path, candidate, champion, gate=None, **more):
    folder = tmp_path / "decision"
    folder.mkdir(exist_ok=True)
    return decide_promotion(candidate, champion and Standard(3, champion), gate or Gate(), folder, **more)


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
    assert decide(tmp_path, ours, theirs).promote
    refused = decide(tmp_path, ours, theirs, Gate(margin=0.05))
    assert not refused.promote
    assert refused.test == "Tango score test"


def test_non_inferiority_lets_an_equal_model_pass(tmp_path):
    gate = Gate(mode="non_inferiority", margin=0.02)
    decision = decide(tmp_path, report(tmp_path / "a", right(50)), report(tmp_path / "b", right(50, first=1)), gate)
    assert decision.promote


def test_macro_f1_is_compared_by_swapping_answers(tmp_path):
    ours = report(tmp_path / "a", right(20), metric="macro_f1")
    decision = decide(tmp_path, ours, report(tmp_path / "b", right(60), metric="macro_f1"))
    assert decision.promote
    assert decision.test == "approximate randomisation"
    low, high = decision.interval
    assert low < decision.difference < high
    assert low < decision.lowest < decision.difference  # one-sided at 95 % is less far out than two-sided


def test_a_margin_on_macro_f1_is_tested_by_the_bca_bootstrap(tmp_path):
    ours, theirs = (
        report(tmp_path / name, right(40, first), metric="macro_f1") for name, first in (("a", 0), ("b", 2))
    )
    lenient = decide(tmp_path, ours, theirs, Gate(mode="non_inferiority", margin=0.02))
    assert (lenient.promote, lenient.test) == (True, "BCa bootstrap")
    assert not decide(tmp_path, ours, theirs, Gate(mode="non_inferiority", margin=0.001)).promote


def test_rows_of_one_document_are_drawn_together(tmp_path):
    """Twelve rows are better, but all of them stand in three documents."""
    columns = {"customer": np.repeat(np.arange(ROWS // 4), 4)}
    ours, theirs = (
        report(tmp_path / name, right(wrong), columns=columns, documents="customer")
        for name, wrong in (("a", 48), ("b", 60))
    )
    decision = decide(tmp_path, ours, theirs)
    assert decision.test == "approximate randomisation over documents"
    assert decision.p_value == pytest.approx(1 / 8, abs=0.02)  # three coins
    assert not decision.promote


LANGUAGES = {"language": np.where(np.arange(ROWS) < 60, "zh", "en")}
FEW = {"language": np.where(np.arange(ROWS) < 10, "zh", "en")}


def worse_in_chinese(tmp_path, columns):
    """Better on 40 rows in English, worse on five in Chinese."""
    theirs = np.ones(ROWS, dtype=bool)
    theirs[100:140] = False
    return report(tmp_path / "a", right(5), columns=columns), report(tmp_path / "b", theirs, columns=columns)


def test_a_drop_on_a_slice_stops_a_better_candidate(tmp_path):
    decision = decide(tmp_path, *worse_in_chinese(tmp_path, LANGUAGES), Gate(max_slice_drop=0.05))
    assert not decision.promote
    assert "language=zh: accuracy -0.0833 on 60 rows, p = 0.031, a drop of at most 0.0500" in decision.reason


def test_a_large_drop_that_may_be_chance_does_not(tmp_path):
    """Four rows worse and none better: p = 1/16 alone."""
    theirs = np.ones(ROWS, dtype=bool)
    theirs[100:140] = False
    ours = report(tmp_path / "a", right(4), columns=LANGUAGES)
    decision = decide(tmp_path, ours, report(tmp_path / "b", theirs, columns=LANGUAGES), Gate(max_slice_drop=0.05))
    assert decision.promote
    assert "-0.0667 of accuracy on language=zh, p = 0.062 alone" in next(
        rule.sentence for rule in decision.rules if rule.name == "slices"
    )


def test_a_margin_is_not_tested_over_few_documents(tmp_path):
    columns = {"customer": np.repeat([f"customer {n}" for n in range(10)], ROWS // 10)}
    ours, theirs = (report(tmp_path / name, right(10), columns=columns, documents="customer") for name in ("a", "b"))
    decision = decide(tmp_path, ours, theirs, Gate(mode="non_inferiority", margin=0.05))
    assert not decision.promote
    assert "a margin takes 20 documents" in decision.reason


def test_few_documents_show_nothing_against_a_model_either(tmp_path):
    """A few customers who agree look like certainty to the bootstrap, in a slice or against the best ever accepted."""
    columns = {"customer": np.repeat(["a", "b", "c", "d"], ROWS // 4), "language": ["en"] * 200 + ["zh"] * 200}
    ours, theirs = (
        report(tmp_path / name, each, columns=columns, documents="customer")
        for name, each in (("a", right(80, first=200)), ("b", right(20, first=200)))
    )
    answers = join_answers(find_task_type("text_classification"), ours, theirs, "customer")
    assert p_value_of(answers.turned(), 0.05, 0.05) == 1.0
    assert p_value_of(answers.turned(), 0.0, 0.05) < 1.0  # without a margin the randomisation test may be asked
    decision = decide(tmp_path, ours, theirs, Gate(mode="non_inferiority", margin=0.05, max_slice_drop=1))
    assert [rule.name for rule in decision.rules if not rule.passed] == ["non_inferiority"]
    gate = Gate(max_total_drop=0.02, max_slice_drop=1)
    folder = tmp_path / "again"
    folder.mkdir()
    judged = decide_promotion(ours, Standard(3, theirs), gate, folder, best=Standard(2, theirs))
    assert next(rule for rule in judged.rules if rule.name == "ratchet").passed


def test_non_inferiority_needs_a_margin():
    with pytest.raises(ValidationError, match="non_inferiority needs a margin above 0"):
        Gate(mode="non_inferiority")


def test_rows_without_their_document_are_named(tmp_path):
    columns = {"customer": np.where(np.arange(ROWS) < 7, None, "c")}
    ours, theirs = (report(tmp_path / name, right(9), columns=columns, documents="customer") for name in ("a", "b"))
    with pytest.raises(DataError, match="7 frozen rows have nothing in 'customer'"):
        decide(tmp_path, ours, theirs)


def test_a_first_model_is_held_to_the_gaps_too_and_a_gap_that_nobody_can_tell_refuses(tmp_path):
    ours = report(tmp_path / "a", right(30), columns=LANGUAGES)
    unfair = decide(tmp_path, ours, None, Gate(max_slice_gap=0.1))
    assert not unfair.promote
    assert "the slices of language are 0.5000 of accuracy apart" in unfair.reason
    alone = decide(tmp_path, report(tmp_path / "b", right(0)), None, Gate(max_slice_gap=0.1))
    assert "no column has two slices" in alone.reason


@pytest.mark.parametrize(("better", "worse"), [(12, 5), (4, 0), (7, 2), (30, 18)])
def test_the_limit_never_says_otherwise_than_the_test(tmp_path, better, worse):
    mine, other = np.ones(1000, bool), np.ones(1000, bool)
    other[:better], mine[better : better + worse] = False, False
    decision = decide(tmp_path, report(tmp_path / "a", mine), report(tmp_path / "b", other))
    assert not decision.promote
    assert decision.lowest <= 0


def test_a_small_drop_stops_it_where_a_test_shows_it(tmp_path):
    """Five losses and no win: p = 1/32 alone, and 1/16 among two slices."""
    ours, theirs = worse_in_chinese(tmp_path, LANGUAGES)
    assert decide(tmp_path, ours, theirs).promote
    decision = decide(tmp_path, ours, theirs, Gate(confidence=0.93))
    assert not decision.promote
    assert "shown to be worse: p = 0.062 after Holm" in decision.reason
    content = json.loads((decision.folder / "decision.json").read_text())
    chinese = next(each for each in content["slices"] if each["name"] == "language=zh")
    assert (chinese["p_value"], chinese["adjusted"]) == pytest.approx((1 / 32, 1 / 16))


def test_a_missing_slice_fails(tmp_path):
    ours = report(tmp_path / "a", right(20))
    decision = decide(tmp_path, ours, report(tmp_path / "b", right(60), columns=LANGUAGES))
    assert not decision.promote
    assert "no score for it" in decision.reason


def test_a_slice_that_is_gone_from_new_frozen_rows_fails_though_neither_model_misses_it(tmp_path):
    ours, theirs = (report(tmp_path / name, right(n), columns=FEW) for name, n in (("a", 20), ("b", 60)))
    accepted = json.loads((report(tmp_path / "then", right(60), columns=LANGUAGES).folder / "report.json").read_text())
    assert decide(tmp_path, ours, theirs).promote
    decision = decide(tmp_path, ours, theirs, accepted=accepted)
    assert decision.reason == (
        "Refused by slice language=zh: the champion was judged on 60 such rows when it went live, and these frozen "
        "rows have 10, fewer than 30; add some, or name it in gate.dropped_slices."
    )
    assert decide(tmp_path, ours, theirs, Gate(dropped_slices=("language=zh",)), accepted=accepted).promote
    stricter = json.loads(json.dumps(accepted))
    stricter["slices"] = [each | {"rows": 12} for each in stricter["slices"]]
    stricter["min_slice_rows"] = 10  # a larger evaluation.min_slice_rows since then loses no slice
    assert decide(tmp_path, ours, theirs, accepted=stricter).promote
    content = json.loads((ours.folder / "report.json").read_text()) | {"sliced_by": []}
    (ours.folder / "report.json").write_text(json.dumps(content))
    assert decide(tmp_path, ours, theirs, accepted=accepted).promote  # nobody asks for the column any more


def test_a_small_slice_is_not_judged(tmp_path):
    ours, theirs = worse_in_chinese(tmp_path, FEW)
    assert decide(tmp_path, ours, theirs).promote


def test_a_slice_that_the_run_file_requires_must_be_there_and_large_enough(tmp_path):
    model = report(tmp_path / "a", right(20), columns=FEW)
    needs = Gate(required_slices=("language=zh", "language=fr"))
    decision = decide(tmp_path, model, None, needs)
    assert "Refused by slice language=zh and slice language=fr: 10 frozen rows, which is too few" in decision.reason
    assert decide(tmp_path, model, None, Gate(required_slices=("language=en",))).promote


def test_gaps_between_slices_are_reported_and_limited(tmp_path):
    ours, theirs = worse_in_chinese(tmp_path, LANGUAGES)
    assert decide(tmp_path, ours, theirs).promote
    content = json.loads((tmp_path / "decision" / "decision.json").read_text())
    assert content["gaps"] == [{"column": "language", "metric": pytest.approx(5 / 60), "odds": pytest.approx(0.1)}]
    refused = decide(tmp_path, ours, theirs, Gate(max_slice_gap=0.05))
    assert ": the slices of language are 0.0833 of accuracy apart" in refused.reason
    assert "equalised odds" in decide(tmp_path, ours, theirs, Gate(max_odds_gap=0.05)).reason


def test_many_small_allowed_drops_do_not_add_up(tmp_path):
    """Not worse than the champion by more than the margin, but far below the best that was ever accepted."""
    gate = Gate(mode="non_inferiority", margin=0.03)
    ours, live = report(tmp_path / "a", right(60)), report(tmp_path / "b", right(60))
    best = Standard(1, report(tmp_path / "c", right(30)))
    assert decide(tmp_path, ours, live, gate).promote
    refused = decide(tmp_path, ours, live, gate, best=best)
    assert not refused.promote
    assert refused.best_version == 1
    assert "Refused by ratchet: accuracy -0.0750 against version 1, the best ever accepted" in refused.reason
    assert decide(tmp_path, ours, live, gate.model_copy(update={"max_total_drop": 0.15}), best=best).promote


def test_a_better_candidate_is_refused_where_the_best_ever_is_shown_to_be_better_still(tmp_path):
    ours, live = report(tmp_path / "a", right(40)), report(tmp_path / "b", right(60))
    assert decide(tmp_path, ours, live, best=Standard(1, report(tmp_path / "c", right(38)))).promote
    assert not decide(tmp_path, ours, live, best=Standard(1, report(tmp_path / "d", right(20)))).promote


def test_the_confidence_is_divided_among_the_decisions_that_rows_are_meant_for(tmp_path):
    ours, theirs = report(tmp_path / "a", right(50)), report(tmp_path / "b", right(56))
    once = decide(tmp_path, ours, theirs, earlier_decisions=4)
    assert (once.promote, once.p_value, once.earlier_decisions) == (True, pytest.approx(1 / 64), 4)
    often = Gate(decisions_per_holdout=5)
    assert not decide(tmp_path, ours, theirs, often, earlier_decisions=4).promote
    clearly = report(tmp_path / "c", right(20))
    assert decide(tmp_path, clearly, theirs, often, earlier_decisions=4).promote
    worn = decide(tmp_path, clearly, theirs, often, earlier_decisions=5)
    assert "Refused by holdout: these frozen rows have decided 5 times before" in worn.reason


def test_the_decision_says_what_it_could_have_seen(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(50)), report(tmp_path / "b", right(52)))
    assert not decision.promote
    assert decision.detectable > decision.difference
    words = (decision.folder / "decision.md").read_text()
    assert "Not shown to be better does not mean equal." in words
    assert "would take about" in words
    assert "have decided 0 times before" in words


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


def test_a_limit_of_calibration_is_kept_and_fails_where_there_is_none(tmp_path):
    model = report(tmp_path / "a", right(20))
    limit = Gate(max_calibration_error=0.05)
    assert "have no expected_calibration_error" in decide(tmp_path, model, None, limit).reason
    sure = replace(model, metrics={**model.metrics, "expected_calibration_error": 0.08})
    assert "expected_calibration_error 0.0800, at most 0.0500" in decide(tmp_path, sure, None, limit).reason
    assert decide(tmp_path, sure, None, Gate(max_calibration_error=0.1)).promote


def test_a_bundle_that_is_too_slow_too_large_or_too_costly_is_refused_after_all(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), None)
    (tmp_path / "again").mkdir()

    def judged(**limits):
        return judge_bundle(decision, Measured(20.0, 90.0, 9.0, 0.025), Gate(**limits), tmp_path / "again")

    assert judged() is decision
    assert judged(max_latency_ms=20, max_size_mb=100, max_core_seconds=9).promote
    assert judged(max_core_seconds=8).reason == (
        "Refused by cost: 1,000 texts take 9.0 s of a core, at most 8 is allowed."
    )
    refused = judged(max_latency_ms=10, max_size_mb=50)
    assert refused.reason == (
        "Refused by latency and size: the bundle answers in 20.0 ms (p95), at most 10 is allowed."
    )
    content = json.loads((tmp_path / "again" / "decision.json").read_text())
    assert (content["promote"], content["measured"]["megabytes"]) == (False, 90.0)
    assert (
        "| size | **failed** | the bundle has 90.0 MB, at most 50 is allowed |"
        in (tmp_path / "again" / "decision.md").read_text()
    )


def test_the_calibration_of_the_engine_that_serves_is_held_to_the_limit(tmp_path):
    """The trained network may keep it and int8 not."""
    model = report(tmp_path / "a", right(20))
    model = replace(model, metrics={**model.metrics, "expected_calibration_error": 0.03})
    gate = Gate(max_calibration_error=0.05)
    decision = decide(tmp_path, model, None, gate)
    assert decision.promote
    (tmp_path / "again").mkdir()
    for error, passed in ((0.04, True), (0.06, False), (None, True)):
        judged = judge_bundle(decision, Measured(20.0, 90.0, 9.0, 0.025, error), gate, tmp_path / "again")
        assert judged.promote is passed
    judged = judge_bundle(decision, Measured(20.0, 90.0, 9.0, 0.025, 0.06), gate, tmp_path / "again")
    assert judged.reason == (
        "Refused by engine's calibration: expected_calibration_error of the engine that serves 0.0600, at most 0.05 is "
        "allowed."
    )


def test_the_engines_that_were_tried_stand_in_the_decision(tmp_path):
    decision = decide(tmp_path, report(tmp_path / "a", right(20)), None)
    (tmp_path / "again").mkdir()
    taken = EngineTrial("openvino", True, "Within 0.005.", 90.0, 2.5, 400.0, 0.95, 0.0, 1e-5)
    left = replace(taken, engine="openvino-int8", accepted=False, reason="It loses 0.0200.", score=0.93, loss=0.02)
    measured = Measured(20.0, 90.0, 9.0, 0.025)
    judged = judge_bundle(decision, measured, Gate(), tmp_path / "again", (left, taken))
    assert (judged.promote, judged.reason, judged.rules) == (decision.promote, decision.reason, decision.rules)
    content = json.loads((judged.folder / "decision.json").read_text())
    assert [(each["engine"], each["milliseconds"], each["loss"]) for each in content["engines"]] == [
        ("openvino-int8", 2.5, 0.02),
        ("openvino", 2.5, 0.0),
    ]
    words = (judged.folder / "decision.md").read_text()
    assert "| openvino-int8 | It loses 0.0200. | 90.0 | 2.50 | 0.9300 | +0.0200 |" in words
    assert "| openvino | taken | 90.0 | 2.50 | 0.9500 | +0.0000 |" in words


def test_the_size_of_a_bundle_is_that_of_its_files_and_its_energy_what_its_cores_draw(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.bin").write_bytes(b"x" * 2_500_000)
    assert measure_bundle(tmp_path, 12.0, core_seconds=9.0, watts=10) == Measured(12.0, 2.5, 9.0, 0.025)


def test_a_gain_that_other_seeds_do_not_have_is_refused(tmp_path):
    ours, live = report(tmp_path / "a", right(20)), report(tmp_path / "b", right(60))
    like = [report(tmp_path / f"like-{n}", right(wrong)) for n, wrong in enumerate((22, 24))]
    luck = [report(tmp_path / f"luck-{n}", right(wrong)) for n, wrong in enumerate((58, 66))]
    assert decide(tmp_path, ours, live, seeds=like).promote
    refused = decide(tmp_path, ours, live, seeds=luck)
    scores = [1 - wrong / ROWS for wrong in (20, 58, 66)]
    expected = ttest_1samp(scores, 1 - 60 / ROWS, alternative="greater").pvalue
    assert refused.reason.startswith("Refused by seeds: 3 seeds have accuracy 0.8350 to 0.9500")
    assert f"p = {expected:.2g} (t-test over seeds)" in refused.reason
    same = [report(tmp_path / f"same-{n}", right(20)) for n in range(2)]
    assert decide(tmp_path, ours, live, seeds=same).promote  # no spread at all


def test_two_seeds_are_refused_as_a_setting():
    with pytest.raises(ValueError, match="two seeds say next to nothing"):
        Gate(seeds=2)


def test_a_divided_level_does_not_blunt_what_refuses(tmp_path):
    ours, theirs = worse_in_chinese(tmp_path, LANGUAGES)
    divided = Gate(confidence=0.93, decisions_per_holdout=10)
    assert "shown to be worse: p = 0.062 after Holm" in decide(tmp_path, ours, theirs, divided).reason


def test_a_model_that_answers_every_row_alike_is_refused_however_high_that_scores(tmp_path):
    made = report(tmp_path / "constant", right(5))
    content = json.loads((made.folder / "report.json").read_text())
    for given, promoted in ((1, False), (2, True)):
        answers = {"different_answers": {"given": given, "true": 2}}
        (made.folder / "report.json").write_text(json.dumps(content | answers))
        folder = tmp_path / f"decision-{given}"
        folder.mkdir()
        decision = decide_promotion(made, None, Gate(), folder)
        assert decision.promote is promoted
        assert ("the same answer" in decision.reason) is not promoted
