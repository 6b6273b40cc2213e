"""What the gate asks of slices: that they are there, that none has become worse, that they are not too far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.config import Gate
from components.records import EvaluationReport, GateRule
from components.reports.comparison import Answers, p_value_of
from components.reports.evaluation import PREDICTIONS
from components.reports.slices import BY_WHAT, Gap, gaps, slice_values
from components.reports.statistics import holm
from components.task_types import find_task_type

Slice = Mapping[str, Any]  # an item of `slices` in report.json


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """One judged slice: both scores, and the p-value of "the candidate is worse here", alone and among all (Holm).

    `candidate` is None where the candidate has no score for it, and all that follows from it too.
    """

    name: str
    rows: int
    candidate: float | None
    champion: float
    p_value: float | None = None
    adjusted: float | None = None

    @property
    def change(self) -> float | None:
        return None if self.candidate is None else self.candidate - self.champion


def presence_rules(slices: Sequence[Slice], gate: Gate) -> list[GateRule]:
    """A slice that the run file counts on must be there, with rows enough."""
    found = {name_of(item): item for item in slices}
    return [_presence(name, found.get(name)) for name in gate.required_slices]


def _presence(name: str, item: Slice | None) -> GateRule:
    if item is None:
        return GateRule(f"slice {name}", False, "the frozen rows have no such slice, and the run file requires it")
    sentence = f"{item['rows']} frozen rows, which is {'enough' if item['judged'] else 'too few'} to judge it"
    return GateRule(f"slice {name}", bool(item["judged"]), sentence)


def vanished_rules(own: Mapping[str, Any], accepted: Mapping[str, Any], gate: Gate) -> list[GateRule]:
    """A slice on which the champion was judged when it went live must not vanish with new frozen rows.

    Candidate and champion are scored on the same rows, so that their two reports would never miss it.

    Args:
        own: the content of the candidate's report.json.
        accepted: that of the report with which the champion went live; empty where it is not known.
    """
    found = {name_of(item): item for item in own["slices"]}
    columns = own.get("sliced_by", [item["column"] for item in own["slices"]])
    known = [item for item in accepted.get("slices", ()) if item["judged"] and item["column"] in columns]
    # A larger evaluation.min_slice_rows is a decision of the run file's author, and loses no slice.
    enough = min(own.get("min_slice_rows", 1), accepted.get("min_slice_rows", own.get("min_slice_rows", 1)))
    silent = {*gate.dropped_slices, *gate.required_slices}  # the latter have a rule of their own
    return [
        GateRule(
            f"slice {name_of(item)}",
            False,
            f"the champion was judged on {item['rows']} such rows when it went live, and these frozen rows have "
            f"{found[name_of(item)]['rows'] if name_of(item) in found else 'none'}, fewer than {enough}; add some, or "
            "name it in gate.dropped_slices",
        )
        for item in known
        if name_of(item) not in silent and found.get(name_of(item), {"rows": 0})["rows"] < enough
    ]


def name_of(item: Slice) -> str:
    """What a slice is called in the run file and in the decision."""
    return f"{item['column']}={item['value']}"


def compare_slices(answers: Answers, ours: Sequence[Slice], theirs: Sequence[Slice], gate: Gate) -> list[SliceFinding]:
    """Every slice that the champion was judged on, each with a paired test, corrected for how many there are."""
    own = {name_of(item): item for item in ours}
    judged = [item for item in sorted(theirs, key=name_of) if item["judged"]]
    finest = gate.guard_alpha / max(len(judged), 1)  # what the smallest of them is held against
    p_values = [_worse(answers, item, gate, finest) if name_of(item) in own else None for item in judged]
    adjusted = iter(holm([value for value in p_values if value is not None]))
    return [
        SliceFinding(
            name=name_of(item),
            rows=item["rows"],
            candidate=own[name_of(item)]["score"] if value is not None else None,
            champion=item["score"],
            p_value=value,
            adjusted=next(adjusted) if value is not None else None,
        )
        for item, value in zip(judged, p_values, strict=True)
    ]


def _worse(answers: Answers, item: Slice, gate: Gate, alpha: float) -> float | None:
    """P-value of "the candidate is worse on this slice by more than the gate allows anyway"."""
    values = slice_values(answers.rows, item["column"], answers.task_type.texts)
    if values is None:
        return None
    among = answers.among((values == item["value"]).to_numpy(), by_row=item["column"] == BY_WHAT["label"])
    return p_value_of(among.turned(), -min(gate.bound, 0.0), alpha)


def slice_rules(found: Sequence[SliceFinding], metric: str, gate: Gate) -> list[GateRule]:
    """One rule for each slice that refuses; one for all where none does."""
    failed = [rule for each in found if (rule := _failure(each, metric, gate))]
    if failed or not found:
        return failed
    worst = min(found, key=lambda each: each.change or 0.0)
    surest = min(each.adjusted or 0.0 for each in found)
    change = min(worst.change or 0.0, 0.0)
    sentence = (
        f"none of {len(found)} is shown to be worse (smallest p after Holm {surest:.2g}, refused up to "
        f"{gate.guard_alpha:.2g}); the largest change for the worse is {change:+.4f} of {metric} on {worst.name}, "
        f"p = {worst.p_value or 0.0:.2g} alone; a drop of more than {gate.max_slice_drop:.4f} is refused where that is "
        f"at most {gate.guard_alpha:.2g}"
    )
    return [GateRule("slices", True, sentence, surest)]


def _failure(found: SliceFinding, metric: str, gate: Gate) -> GateRule | None:
    name = f"slice {found.name}"
    if found.change is None or found.adjusted is None:
        return GateRule(name, False, "the candidate has no score for it")
    numbers = f"{metric} {found.change:+.4f} on {found.rows} rows"
    # So many rows wrong by chance alone are common on small slices: a large drop has to be more than that, by itself.
    if -found.change > gate.max_slice_drop and (found.p_value or 0.0) <= gate.guard_alpha:
        allowed = f"p = {found.p_value or 0.0:.2g}, a drop of at most {gate.max_slice_drop:.4f} is allowed"
        return GateRule(name, False, f"{numbers}, {allowed}", found.p_value)
    if found.adjusted <= gate.guard_alpha:
        sentence = (
            f"{numbers}, shown to be worse: p = {found.adjusted:.2g} after Holm, refused up to {gate.guard_alpha:.2g}"
        )
        return GateRule(name, False, sentence, found.adjusted)
    return None


def gap_rules(candidate: EvaluationReport, own: Mapping[str, Any], gate: Gate) -> tuple[list[Gap], list[GateRule]]:
    """The candidate's gaps between slices, and a rule for each limit of the run file; what nobody can tell fails.

    Args:
        own: the content of the candidate's report.json.
    """
    import pandas as pd

    judged = [item for item in own["slices"] if item["judged"]]
    enough = own.get("min_slice_rows", min((item["rows"] for item in judged), default=0))
    task_type = find_task_type(candidate.task_type)
    found = gaps(judged, pd.read_parquet(candidate.folder / PREDICTIONS), task_type, enough) if judged else []
    limits = (
        ("metric", gate.max_slice_gap, candidate.primary_metric),
        ("odds", gate.max_odds_gap, "equalised odds"),
    )
    return found, [
        rule for name, limit, words in limits if limit is not None for rule in _gaps(found, name, limit, words)
    ]


def _gaps(found: Sequence[Gap], name: str, limit: float, words: str) -> list[GateRule]:
    known = [(gap.column, value) for gap in found if (value := getattr(gap, name)) is not None]
    if not known:
        sentence = f"no column has two slices to tell a gap of {words} from, and at most {limit:.4f} is allowed"
        return [GateRule(f"gap of {words}", False, sentence)]
    return [
        GateRule(
            f"gap {column}",
            value <= limit,
            f"the slices of {column} are {value:.4f} of {words} apart, at most {limit:.4f} is allowed",
        )
        for column, value in known
    ]
