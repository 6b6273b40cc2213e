"""What the gate asks of the bundle itself: how fast it answers, how large it is. Measured numbers in, rules out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.config import Gate
from components.digests import canonical
from components.records import EngineTrial, GateRule, PromotionDecision, as_json
from components.reports.decision_file import DECISION
from components.reports.decision_words import decision_in_words

ENGINE_SENTENCE = "expected_calibration_error of the engine that serves {:.4f}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on the running bundle: one client that sends one text at a time, and all files of it.

    `calibration_error` is of its engine on the frozen rows; None where that has none. `core_seconds` and `watt_hours`
    are of 1,000 texts; the latter is estimated from what a busy core is said to draw.
    """

    p95_ms: float
    megabytes: float
    core_seconds: float
    watt_hours: float
    calibration_error: float | None = None


def judge_bundle(
    decision: PromotionDecision, measured: Measured, gate: Gate, folder: Path, engines: Sequence[EngineTrial] = ()
) -> PromotionDecision:
    """The decision with the rules that the run file has for bundles, and with the engines that were tried for this one;
    written anew to `folder` where there are any.
    """
    rules = [
        GateRule(name, value <= limit, f"{words.format(value)}, at most {limit:g} is allowed")
        for name, value, limit, words in (
            ("latency", measured.p95_ms, gate.max_latency_ms, "the bundle answers in {:.1f} ms (p95)"),
            ("size", measured.megabytes, gate.max_size_mb, "the bundle has {:.1f} MB"),
            ("cost", measured.core_seconds, gate.max_core_seconds, "1,000 texts take {:.1f} s of a core"),
            ("engine's calibration", measured.calibration_error, gate.max_calibration_error, ENGINE_SENTENCE),
        )
        if limit is not None and value is not None
    ]
    if not rules and not engines:
        return decision
    failed = [rule for rule in rules if not rule.passed]
    reason = f"Refused by {' and '.join(rule.name for rule in failed)}: {failed[0].sentence}." if failed else None
    judged = replace(
        decision,
        folder=folder,
        promote=decision.promote and not failed,
        reason=reason or decision.reason,
        rules=(*decision.rules, *rules),
    )
    before = json.loads((decision.folder / DECISION).read_text(encoding="utf-8"))
    content = before | as_json(judged) | {"measured": as_json(measured), "engines": [as_json(each) for each in engines]}
    del content["folder"], content["digest"]
    (folder / DECISION).write_text(canonical(content), encoding="utf-8")
    (folder / "decision.md").write_text(decision_in_words(content), encoding="utf-8")
    return judged


def measure_bundle(
    path: Path, p95_ms: float, core_seconds: float, watts: float, calibration_error: float | None = None
) -> Measured:
    """The size of a bundle's folder beside the latency and the work that its proof has found.

    Args:
        watts: what a busy core draws, its share of the memory and of the power supply included.
        calibration_error: of the engine that serves.
    """
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return Measured(
        p95_ms, round(size / 1e6, 1), core_seconds, round(core_seconds * watts / 3600, 4), calibration_error
    )
