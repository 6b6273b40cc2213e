"""The decision: whether the candidate replaces the champion, from what both said about the same frozen rows.

Pure statistics on evaluation reports; nothing here knows a registry. `decision.json` and `decision.md` say it in
numbers and in words, `disagreements.csv` lists the rows on which the two differ. docs/gate.md explains each rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.config import Gate
from components.digests import canonical
from components.records import CALIBRATION, EvaluationReport, GateRule, PromotionDecision, as_json
from components.reports.behaviour_rules import BehaviourFinding, behaviour_rules, compare_behaviour
from components.reports.comparison import (
    OTHER,
    Answers,
    Comparison,
    Question,
    compare,
    join_answers,
)
from components.reports.decision_file import DECISION
from components.reports.decision_words import decision_in_words
from components.reports.evaluation import REPORT
from components.reports.power import rows_needed
from components.reports.seed_rules import seeds_rule
from components.reports.slice_rules import (
    SliceFinding,
    compare_slices,
    gap_rules,
    presence_rules,
    slice_rules,
    vanished_rules,
)
from components.reports.slices import Gap
from components.reports.standard_rules import Standard as Standard
from components.reports.standard_rules import metric_rule, ratchet_rule
from components.task_types import find_task_type


@dataclass(frozen=True, slots=True)
class _Findings:
    """Everything that was found before the decision."""

    rules: list[GateRule]
    found: Comparison | None = None
    answers: Answers | None = None
    slices: list[SliceFinding] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    behaviour: list[BehaviourFinding] = field(default_factory=list)


def decide_promotion(
    candidate: EvaluationReport,
    champion: Standard | None,
    gate: Gate,
    folder: Path,
    *,
    best: Standard | None = None,
    earlier_decisions: int = 0,
    seeds: Sequence[EvaluationReport] = (),
    accepted: Mapping[str, Any] | None = None,
) -> PromotionDecision:
    """Whether the candidate goes live, with every number behind it, also written to `folder`.

    Args:
        champion: what is live; None before the first.
        best: the best version ever accepted, where that is another one.
        earlier_decisions: how often the same frozen rows have decided before.
        seeds: the candidate's recipe with other seeds, on the same rows.
        accepted: the content of the report with which the champion went live, on the frozen rows of its time.

    Raises:
        DataError: the reports are not about the same rows.
    """
    metric = candidate.primary_metric
    made = _examine(candidate, champion, best, gate, earlier_decisions, accepted or {})
    if champion is not None and seeds:
        made.rules.append(seeds_rule([candidate, *seeds], champion.report, gate))
    found = made.found
    decision = PromotionDecision(
        folder=folder,
        promote=all(rule.passed for rule in made.rules),
        reason=_reason(made.rules, champion),
        metric=metric,
        candidate_score=candidate.metrics[metric],
        champion_version=champion.version if champion else None,
        champion_score=champion.report.metrics[metric] if champion else None,
        difference=found.difference if found else None,
        interval=found.interval if found else None,
        test=found.test if found else "none: there is no champion yet",
        p_value=found.p_value if found else None,
        margin=gate.margin,
        confidence=gate.confidence,
        rows=candidate.rows,
        rules=tuple(made.rules),
        alpha=gate.alpha,
        lowest=found.lowest if found else None,
        detectable=found.detectable if found else None,
        best_version=best.version if best else None,
        earlier_decisions=earlier_decisions,
        test_rows=candidate.frozen_rows or candidate.test_digest,
        gate=gate.model_dump(mode="json"),
    )
    _write(decision, candidate, champion, gate, made, seeds)
    return decision


def _examine(
    candidate: EvaluationReport,
    champion: Standard | None,
    best: Standard | None,
    gate: Gate,
    earlier: int,
    accepted: Mapping[str, Any],
) -> _Findings:
    own = _content(candidate)
    task_type = find_task_type(candidate.task_type)
    metric = candidate.primary_metric
    rules = [_floor(metric, candidate.metrics[metric], gate), *_calibration(candidate, gate)]
    rules += _variety(own, candidate.rows)
    rules += _holdout_rules(gate, earlier)
    rules += presence_rules(own["slices"], gate)
    rules += vanished_rules(own, accepted, gate)
    behaviour = compare_behaviour(candidate, own, champion.report if champion else None)
    rules += behaviour_rules(behaviour, gate)
    found_gaps, limited = gap_rules(candidate, own, gate)
    rules += limited
    if champion is None:
        return _Findings(rules, gaps=found_gaps, behaviour=behaviour)
    answers = join_answers(task_type, candidate, champion.report, own.get("documents"))
    found = compare(answers, Question(gate.bound, gate.alpha, gate.confidence, gate.power))
    rules.append(metric_rule(found, candidate, champion.report, gate))
    if best is not None:
        rules.append(ratchet_rule(join_answers(task_type, candidate, best.report, own.get("documents")), best, gate))
    slices = compare_slices(answers, own["slices"], _content(champion.report)["slices"], gate)
    rules += slice_rules(slices, metric, gate)
    return _Findings(rules, found, answers, slices, found_gaps, behaviour)


def _content(report: EvaluationReport) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads((report.folder / REPORT).read_text(encoding="utf-8"))
    return content


def _floor(metric: str, score: float, gate: Gate) -> GateRule:
    return GateRule("floor", score >= gate.floor, f"{metric} {score:.4f}, at least {gate.floor:.4f} is asked for")


def _variety(own: Mapping[str, Any], rows: int) -> Iterator[GateRule]:
    """What answers every row alike has learned nothing, however high that scores where most rows are alike."""
    found = own.get("different_answers", {})  # reports of earlier releases lack it
    if found and found["given"] == 1 < found["true"]:
        sentence = f"it gives all {rows} frozen rows the same answer, where {found['true']} different ones are right"
        yield GateRule("variety", False, sentence)


def _calibration(candidate: EvaluationReport, gate: Gate) -> Iterator[GateRule]:
    if gate.max_calibration_error is None:
        return
    error = candidate.metrics.get(CALIBRATION)
    if error is None:
        yield GateRule("calibration", False, f"models of the type {candidate.task_type} have no {CALIBRATION}")
        return
    sentence = f"{CALIBRATION} {error:.4f}, at most {gate.max_calibration_error:.4f} is allowed"
    yield GateRule("calibration", error <= gate.max_calibration_error, sentence)


def _holdout_rules(gate: Gate, earlier: int) -> Iterator[GateRule]:
    """Rows that have decided more often than they were meant to prove nothing any more."""
    meant = gate.decisions_per_holdout
    if meant is not None:
        sentence = f"these frozen rows have decided {earlier} times before, and were meant for {meant} decisions"
        rest = (
            "" if earlier < meant else "; new frozen rows are asked for (data.test), the champion is scored on them too"
        )
        yield GateRule("holdout", earlier < meant, sentence + rest)


def _reason(rules: list[GateRule], champion: Standard | None) -> str:
    failed = [rule for rule in rules if not rule.passed]
    if failed:
        return f"Refused by {' and '.join(rule.name for rule in failed)}: {failed[0].sentence}."
    if champion is None:
        return f"Promoted as the first champion: {rules[0].sentence}."
    test = next(rule for rule in rules if rule.name in ("superiority", "non_inferiority"))
    return f"Promoted over version {champion.version}: {test.sentence}."


def _write(
    decision: PromotionDecision,
    candidate: EvaluationReport,
    champion: Standard | None,
    gate: Gate,
    made: _Findings,
    seeds: Sequence[EvaluationReport],
) -> None:
    found, disagreements = made.found, 0
    if made.answers is not None:
        rows = made.answers.rows
        differing = rows[rows["predicted"] != rows["predicted" + OTHER]]
        differing.to_csv(decision.folder / "disagreements.csv", index=False, encoding="utf-8")
        disagreements = len(differing)
    content = as_json(decision) | {
        "mode": gate.mode,
        "power": gate.power,
        "decisions_per_holdout": gate.decisions_per_holdout,
        "disagreements": disagreements,
        "better_rows": found.better if found else None,
        "worse_rows": found.worse if found else None,
        "units": found.units if found else None,
        "rows_needed": rows_needed(found.difference, gate.bound, found.detectable, decision.rows) if found else None,
        "slices": [as_json(each) for each in made.slices],
        "gaps": [as_json(each) for each in made.gaps],
        "behaviour": [as_json(each) for each in made.behaviour],
        "seed_scores": [each.metrics[decision.metric] for each in seeds],
        "candidate_model": candidate.model_digest,
        "champion_model": champion.report.model_digest if champion else None,
    }
    del content["folder"], content["digest"]
    (decision.folder / DECISION).write_text(canonical(content), encoding="utf-8")
    (decision.folder / "decision.md").write_text(decision_in_words(content), encoding="utf-8")
