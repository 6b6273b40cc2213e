"""The decision: whether the candidate replaces the champion, from what both said about the same frozen rows.

Pure statistics on two evaluation reports; nothing here knows a registry. `decision.json` and `decision.md` say it in
numbers and in words, `disagreements.csv` lists the rows on which the two differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import Gate
from components.digests import canonical
from components.errors import DataError
from components.records import EvaluationReport, GateRule, PromotionDecision, as_json
from components.reports.evaluation import PREDICTIONS, REPORT
from components.reports.statistics import bootstrap_scores, interval, mcnemar_exact, tango_score_test
from components.task_types import find_task_type

if TYPE_CHECKING:
    import pandas as pd

DECISION = "decision.json"
SAMPLES = 10_000  # resamplings: the p-value's own error is then below 0.003 near 0.05
SEED = 20_240_101


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the paired test found; `difference` is candidate minus champion, `interval` at the gate's confidence.

    `better` and `worse` count rows on which one model's answer is better than the other's.
    """

    test: str
    p_value: float
    difference: float
    interval: tuple[float, float]
    better: int
    worse: int


def decide_promotion(
    candidate: EvaluationReport,
    champion: EvaluationReport | None,
    champion_version: int | None,
    gate: Gate,
    folder: Path,
) -> PromotionDecision:
    """Whether the candidate goes live, with every number behind it, also written to `folder`.

    Raises:
        DataError: the two reports are not about the same rows.
    """
    metric = candidate.primary_metric
    score = candidate.metrics[metric]
    rules = [_floor(metric, score, gate)]
    comparison = None
    if champion is not None:
        _require_same_rows(candidate, champion)
        comparison = compare(candidate, champion, gate)
        rules += [_test_rule(comparison, candidate, champion, gate), *_slice_rules(candidate, champion, gate)]
    decision = PromotionDecision(
        folder=folder,
        promote=all(rule.passed for rule in rules),
        reason=_reason(rules, champion_version),
        metric=metric,
        candidate_score=score,
        champion_version=champion_version,
        champion_score=champion.metrics[metric] if champion else None,
        difference=comparison.difference if comparison else None,
        interval=comparison.interval if comparison else None,
        test=comparison.test if comparison else "none: there is no champion yet",
        p_value=comparison.p_value if comparison else None,
        margin=gate.margin,
        confidence=gate.confidence,
        rows=candidate.rows,
        rules=tuple(rules),
    )
    _write(decision, candidate, champion, comparison)
    return decision


def compare(candidate: EvaluationReport, champion: EvaluationReport, gate: Gate) -> Comparison:
    """The paired test of two reports on the same rows.

    A metric that is the share of rows answered rightly gets the exact McNemar test where the margin is zero and Tango's
    score test where it is not; the others get a paired bootstrap over rows (for entities and answers: over documents).
    """
    metric, task_type = candidate.primary_metric, find_task_type(candidate.task_type)
    both = _joined(candidate, champion)
    # Of a share of right rows, only being right counts; elsewhere an answer may be right in part.
    judged = "correct" if metric in task_type.shares else "quality"
    better = int((both[judged] > both[f"{judged}_champion"]).sum())
    worse = int((both[judged] < both[f"{judged}_champion"]).sum())
    truths = both["label"].tolist()
    said = [both[name].tolist() for name in ("predicted", "predicted_champion")]
    statistics = [task_type.statistic(metric, truths, answers) for answers in said]
    ours, theirs = bootstrap_scores(statistics, len(both), SAMPLES, SEED)
    bound = gate.margin if gate.mode == "superiority" else -gate.margin
    if metric not in task_type.shares:
        # The share of resamplings at or below the bound, counting the observed sample as one of them.
        test, p_value = "paired bootstrap", float(((ours - theirs) <= bound).sum() + 1) / (SAMPLES + 1)
    elif bound == 0:
        test, p_value = "exact McNemar test", mcnemar_exact(better, worse)
    else:
        test, p_value = "Tango score test", tango_score_test(better, worse, len(both), bound)
    difference = candidate.metrics[metric] - champion.metrics[metric]
    return Comparison(test, p_value, difference, interval(ours - theirs, gate.confidence), better, worse)


def _joined(candidate: EvaluationReport, champion: EvaluationReport) -> pd.DataFrame:
    import pandas as pd

    ours = pd.read_parquet(candidate.folder / PREDICTIONS)
    own = ["row_id", "predicted", "score", "quality", "correct"]
    theirs = pd.read_parquet(champion.folder / PREDICTIONS, columns=own)
    return ours.merge(theirs, on="row_id", suffixes=("", "_champion"), validate="one_to_one")


def _require_same_rows(candidate: EvaluationReport, champion: EvaluationReport) -> None:
    if candidate.test_digest != champion.test_digest or candidate.rows != champion.rows:
        raise DataError(
            "The candidate and the champion were scored on different rows.",
            "delete the champion's evaluation below steps/, so that it is scored on the current rows.",
        )


def _floor(metric: str, score: float, gate: Gate) -> GateRule:
    return GateRule("floor", score >= gate.floor, f"{metric} {score:.4f}, at least {gate.floor:.4f} is asked for")


def _test_rule(found: Comparison, candidate: EvaluationReport, champion: EvaluationReport, gate: Gate) -> GateRule:
    alpha = 1 - gate.confidence
    metric = candidate.primary_metric
    asked = "better" if gate.mode == "superiority" else "not worse"
    asked += f" by more than {gate.margin:.4f}" if gate.margin else ""
    low, high = found.interval
    sentence = (
        f"{metric} {candidate.metrics[metric]:.4f} against {champion.metrics[metric]:.4f}, {found.difference:+.4f} "
        f"({gate.confidence:.0%} interval {low:+.4f} to {high:+.4f}); {asked}: p = {found.p_value:.2g} "
        f"({found.test}), at most {alpha:.2g} is asked for; the candidate is better on {found.better} rows, worse on "
        f"{found.worse}"
    )
    return GateRule(gate.mode, found.p_value <= alpha, sentence)


def _slice_rules(candidate: EvaluationReport, champion: EvaluationReport, gate: Gate) -> list[GateRule]:
    ours, theirs = _slices(candidate), _slices(champion)
    judged = [(key, before) for key, before in sorted(theirs.items()) if before["judged"]]
    return [_slice_rule(candidate.primary_metric, key, ours.get(key), before, gate) for key, before in judged]


def _slices(report: EvaluationReport) -> dict[tuple[str, str], Mapping[str, Any]]:
    content = json.loads((report.folder / REPORT).read_text(encoding="utf-8"))
    return {(item["column"], item["value"]): item for item in content["slices"]}


def _slice_rule(
    metric: str, key: tuple[str, str], ours: Mapping[str, Any] | None, before: Mapping[str, Any], gate: Gate
) -> GateRule:
    name = f"slice {key[0]}={key[1]}"
    if ours is None:
        return GateRule(name, False, "the candidate has no score for it")
    change = ours["score"] - before["score"]
    sentence = f"{metric} {change:+.4f} on {ours['rows']} rows, a drop of at most {gate.max_slice_drop:.4f} is allowed"
    return GateRule(name, -change <= gate.max_slice_drop, sentence)


def _reason(rules: list[GateRule], champion_version: int | None) -> str:
    failed = [rule for rule in rules if not rule.passed]
    if failed:
        return f"Refused by {' and '.join(rule.name for rule in failed)}: {failed[0].sentence}."
    if champion_version is None:
        return f"Promoted as the first champion: {rules[0].sentence}."
    return f"Promoted over version {champion_version}: {rules[1].sentence}."


def _write(
    decision: PromotionDecision,
    candidate: EvaluationReport,
    champion: EvaluationReport | None,
    found: Comparison | None,
) -> None:
    disagreements = 0
    if champion is not None:
        both = _joined(candidate, champion)
        differing = both[both["predicted"] != both["predicted_champion"]]
        differing.to_csv(decision.folder / "disagreements.csv", index=False, encoding="utf-8")
        disagreements = len(differing)
    content = as_json(decision) | {
        "disagreements": disagreements,
        "better_rows": found.better if found else None,
        "worse_rows": found.worse if found else None,
        "candidate_model": candidate.model_digest,
        "champion_model": champion.model_digest if champion else None,
        "test_rows": candidate.test_digest,
    }
    content.pop("folder")
    (decision.folder / DECISION).write_text(canonical(content), encoding="utf-8")
    (decision.folder / "decision.md").write_text(decision_in_words(content), encoding="utf-8")


def decision_in_words(content: Mapping[str, Any]) -> str:
    """The decision as markdown, from the content of `decision.json`."""
    champion = content["champion_version"]
    rows = [
        f"# {'Promoted' if content['promote'] else 'Refused'}",
        "",
        content["reason"],
        "",
        *(_both_in_words(content) if champion else [f"Scored on {content['rows']:,} frozen rows."]),
        "",
        "| rule | | numbers |",
        "|---|---|---|",
        *(f"| {r['name']} | {'passed' if r['passed'] else '**failed**'} | {r['sentence']} |" for r in content["rules"]),
    ]
    return "\n".join(rows) + "\n"


def _both_in_words(content: Mapping[str, Any]) -> list[str]:
    return [
        f"| | candidate | champion (version {content['champion_version']}) |",
        "|---|---|---|",
        f"| {content['metric']} | {content['candidate_score']:.4f} | {_number(content['champion_score'])} |",
        f"| better than the other on rows | {_number(content['better_rows'])} | {_number(content['worse_rows'])} |",
        "",
        f"Scored on {content['rows']:,} frozen rows; the two differ on {content['disagreements']:,} of them "
        "(`disagreements.csv`).",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
