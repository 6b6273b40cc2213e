"""What a look has found, for people as markdown and for programs as JSON."""

from __future__ import annotations

from typing import Any

from components.monitoring.judging import Accuracy, Look
from components.monitoring.measure_words import NAMES
from components.records import as_json

SMALLEST = 1e-9  # of a p-value that is worth its digits
HEAD = "| | measure | against | effect | alarm from | p, corrected | what was seen |\n|---|---|---|---|---|---|---|\n"


def report_content(look: Look, action: str = "") -> dict[str, Any]:
    """The whole report as plain values."""
    window = look.window
    return {
        "model": look.name,
        "version": look.version,
        "verdict": look.verdict,
        "reason": look.reason,
        "action": action,
        "window": {
            "number": look.number,
            "began": window.began,
            "ended": window.ended,
            "texts": len(window.rows),
            "requests": len(window.requests),
            "lost": window.lost,
        },
        "findings": [as_json(finding) for finding in look.findings],
        "accuracy": as_json(look.accuracy) if look.accuracy else None,
    }


def report_in_words(look: Look, action: str = "") -> str:
    """The report as markdown."""
    window = look.window
    verdict = look.verdict or "not judged"
    lines = [f"# {look.name} version {look.version}: {verdict}", "", look.reason, ""]
    if action:
        lines += [f"**{action}**", ""]
    if len(window.requests):
        lost = f", {window.lost:,} more were not written down" if window.lost else ""
        lines += [
            f"{f'Window {look.number}' if look.number else 'Looked at'}: {len(window.rows):,} answered texts in "
            f"{len(window.requests):,} requests{lost}, {_minute(window.began)} to {_minute(window.ended)} UTC.",
            "",
        ]
    if look.findings:
        lines += [HEAD + "\n".join(_line(finding) for finding in look.findings), ""]
        lines += [EXPLANATION, ""]
    if look.baselines.reference is None:
        lines += ["There is no training reference: only windows are compared with each other.", ""]
    return "\n".join([*lines, *_of_accuracy(look.accuracy)]).rstrip() + "\n"


EXPLANATION = (
    "p is corrected for the number of tests in this table (Holm). An alarm needs a small p and the effect; half of the "
    "effect is watched. The effects are explained in docs/monitoring.md."
)


def _line(finding: Any) -> str:
    marks = {"alarm": "**alarm**", "watch": "watch", "ok": ""}
    span = f" [{finding.interval[0]:.3f}, {finding.interval[1]:.3f}]" if finding.interval else ""
    cells = (
        marks[finding.severity],
        NAMES[finding.measure],
        f"{finding.against} ({finding.baseline_rows:,})" if finding.baseline_rows else finding.against,
        f"{finding.effect:.3f}{span}",
        f"{finding.threshold:g}",
        f"{finding.corrected:.2g}" if finding.corrected > SMALLEST else f"< {SMALLEST:g}",
        finding.sentence.replace("|", "\\|"),
    )
    return "| " + " | ".join(cells) + " |"


def _of_accuracy(accuracy: Accuracy | None) -> list[str]:
    if accuracy is None:
        return []
    evidence = accuracy.evidence
    began = evidence.starts[0].since
    since = f"{_minute(began)} UTC" if began else "it went live"
    lines = [
        f"Feedback: {evidence.right:,} of {evidence.rows:,} answers that people spoke of were right since {since}."
    ]
    if accuracy.interval:
        low, high = accuracy.interval
        lines[0] += f" Of {accuracy.new:,} new ones {accuracy.new_right:,} [{low:.1%}, {high:.1%}, Wilson, 95 %]."
    if accuracy.judged:
        lines.append(
            f"Evidence against an accuracy of {accuracy.bound:.1%} or more: p {evidence.p_value:.2g}, which may be "
            "looked at after each piece of feedback."
        )
    else:
        lines.append(f"They are not judged: {accuracy.why_not}")
    return lines


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
