"""What the gate asks of the whole metric: against the champion, and against the best version ever accepted."""

from __future__ import annotations

from dataclasses import dataclass

from components.config import Gate
from components.records import EvaluationReport, GateRule
from components.reports.comparison import Answers, Comparison, p_value_of


@dataclass(frozen=True, slots=True)
class Standard:
    """A version that the candidate is compared with, and its scores on the same frozen rows."""

    version: int
    report: EvaluationReport


def metric_rule(found: Comparison, candidate: EvaluationReport, champion: EvaluationReport, gate: Gate) -> GateRule:
    """That the candidate is better than the champion, or not worse, by the paired test."""
    metric = candidate.primary_metric
    asked = "better" if gate.mode == "superiority" else "not worse"
    asked += f" by more than {gate.margin:.4f}" if gate.margin else ""
    low, high = found.interval
    sentence = (
        f"{metric} {candidate.metrics[metric]:.4f} against {champion.metrics[metric]:.4f}, {found.difference:+.4f} "
        f"({gate.confidence:.0%} interval {low:+.4f} to {high:+.4f}); {asked}: p = {found.p_value:.2g} "
        f"({found.test}), at most {gate.alpha:.2g} is asked for; the candidate is better on {found.better} rows, worse "
        f"on {found.worse}"
    )
    return GateRule(gate.mode, found.p_value <= gate.alpha, sentence, found.p_value)


def ratchet_rule(answers: Answers, best: Standard, gate: Gate) -> GateRule:
    """Whoever may be a little worse than the champion must not be so against the best: small drops would add up.

    Under non-inferiority the candidate has to show that it is not worse, as against the champion; under superiority,
    where it has beaten the champion, it must only not be shown to be worse.
    """
    strict = gate.mode == "non_inferiority"
    allowed = gate.max_total_drop if gate.max_total_drop is not None else gate.margin * strict
    change = answers.difference
    head = f"{answers.metric} {change:+.4f} against version {best.version}, the best ever accepted"
    if strict:
        p_value = p_value_of(answers, -allowed, gate.alpha)
        asked = f"not worse by more than {allowed:.4f}: p = {p_value:.2g}, at most {gate.alpha:.2g} is asked for"
        return GateRule("ratchet", p_value <= gate.alpha, f"{head}; {asked}", p_value)
    p_value = p_value_of(answers.turned(), allowed, gate.guard_alpha)
    by = f" by more than {allowed:.4f}" if allowed else ""
    shown = f"{'shown' if p_value <= gate.guard_alpha else 'not shown'} to be worse{by}: p = {p_value:.2g}"
    return GateRule(
        "ratchet", p_value > gate.guard_alpha, f"{head}; {shown}, refused up to {gate.guard_alpha:.2g}", p_value
    )
