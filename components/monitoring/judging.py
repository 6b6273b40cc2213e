"""One look at a model: its traffic, its baselines and its memory in, what was found out; nothing is told or started.

Windows follow each other without overlap: each answered text is in one of them at most, so that looking often is not
the same evidence over and over.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.monitor_config import Monitor
from components.monitoring.accuracy import (
    Evidence,
    Judgement,
    add_judgements,
    has_newer,
    read_judgements,
)
from components.monitoring.comparison import GRAVITY, Baselines, Finding, compare
from components.monitoring.memory import FIRST_GOOD, LAST_GOOD, Memory, Verdict, verdict_of
from components.monitoring.reference import Reference
from components.monitoring.request_lines import log_files, read_requests, read_salt, salt_file
from components.monitoring.samples import Window, read_window, window_of, write_window
from components.reports.statistics import wilson
from components.sequences.one_label import OneLabel
from components.task_types import TaskType

ALL_ROWS = 10**9
MOST_TOLD = 4  # measures in the reason; the report has all
EVEN = 0.5  # bound of evidence that is counted and not judged
EDGE = 0.01  # how near to 0 or 1 the bound of the accuracy may come


@dataclass(frozen=True, slots=True)
class Watched:
    """A model that is watched: where its log, its feedback and its memory lie, and what it was trained for."""

    name: str
    version: int
    kind: TaskType
    settings: Monitor
    logs: Sequence[Path]
    feedback: Path
    folder: Path
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What people said of the answers; `new` and its interval are of the feedback that came since the last look."""

    new: int
    new_right: int
    interval: tuple[float, float] | None
    evidence: Evidence
    bound: float
    judged: bool
    why_not: str = ""


@dataclass(frozen=True)
class Look:
    """What one look has found; `verdict` is None where there was too little to judge.

    `number` counts the windows of the version, 0 for one that was named; `whole` says whether this
    one was large enough to be one of them.
    """

    name: str
    version: int
    verdict: Verdict | None
    reason: str
    window: Window
    baselines: Baselines
    findings: tuple[Finding, ...]
    accuracy: Accuracy | None
    number: int
    whole: bool


def look(watched: Watched, memory: Memory, *, since: str | None = None, rows: int | None = None) -> Look:
    """Judge the newest window of the version that is live.

    Args:
        since: a time, ISO 8601 in UTC: judge what came after it, whatever was judged before.
        rows: judge so many of the newest answered texts, whatever was judged before.

    Raises:
        DataError: a log cannot be read.
    """
    settings = watched.settings
    chosen = since is not None or rows is not None
    most = rows or (ALL_ROWS if since is not None else settings.rows)
    start = (since or "") if chosen else max(memory.until, _begin(settings))
    requests = read_requests(watched.logs, version=watched.version, since=start, rows=most, batches=settings.batches)
    window = window_of(requests, watched.version, most)
    baselines = _baselines(watched)
    accuracy = _accuracy(watched, memory)
    enough = max(len(window.rows), len(window.requests)) >= (1 if chosen else settings.min_rows)
    findings = compare(window, baselines, settings) if enough else []
    if accuracy is not None and (found := _about_accuracy(accuracy, watched)):
        findings = sorted([found, *findings], key=lambda each: GRAVITY[each.severity])
    verdict = verdict_of(findings, settings.retrain_on) if findings else None
    reason = _reason(findings) if findings else _too_few(watched, window, enough)
    return Look(
        watched.name,
        watched.version,
        verdict,
        reason,
        window,
        baselines,
        tuple(findings),
        accuracy,
        0 if chosen else memory.windows + 1,
        enough,
    )


def learn(watched: Watched, memory: Memory, found: Look) -> Memory:
    """What is remembered after a look that was judged; a good window becomes what later ones are compared with."""
    if found.whole and found.verdict == "ok" and len(found.window.rows):
        for name in (LAST_GOOD, FIRST_GOOD):
            place = _good(watched, name)
            if name == LAST_GOOD or not place.exists():
                write_window(found.window, place)
            for other in watched.folder.glob(f"{name}-*"):
                if other != place:
                    shutil.rmtree(other, ignore_errors=True)
    evidence = found.accuracy.evidence if found.accuracy else memory.evidence
    return replace(memory.after(found.findings, found.window.ended, whole=found.whole), evidence=evidence)


def _good(watched: Watched, name: str) -> Path:
    return watched.folder / f"{name}-{watched.version}"


def _begin(settings: Monitor) -> str:
    if settings.hours is None:
        return ""
    return (datetime.now(UTC) - timedelta(hours=settings.hours)).isoformat(timespec="milliseconds")


def _baselines(watched: Watched) -> Baselines:
    return Baselines(
        watched.reference.table() if watched.reference else None,
        read_window(_good(watched, LAST_GOOD), watched.version),
        read_window(_good(watched, FIRST_GOOD), watched.version),
    )


def _accuracy(watched: Watched, memory: Memory) -> Accuracy | None:
    """What people said since the last look; None where nobody did, or answers are not simply right or wrong."""
    if not isinstance(watched.kind, OneLabel) or not watched.feedback.exists():
        return None
    judgements = _judgements(watched, memory.evidence.until)
    bound = _bound(watched)
    known = memory.evidence.under(watched.settings.feedback, EVEN if bound is None else bound)
    evidence = add_judgements(known, judgements)
    if not evidence.rows:
        return None
    right = sum(each.right for each in judgements)
    interval = wilson(right, len(judgements)) if judgements else None
    why_not = _why_not_judged(watched)
    return Accuracy(len(judgements), right, interval, evidence, bound or 0.0, not why_not, why_not)


def _why_not_judged(watched: Watched) -> str:
    """Why feedback says nothing of the accuracy of all answers; empty where it does."""
    if watched.settings.feedback != "sample":
        return (
            "people send what they find wrong, so this is no accuracy of all answers. With the truth about a random "
            "sample, set monitor.feedback: sample."
        )
    if watched.reference is None:
        return "there is no training reference, and so no accuracy on the frozen rows to compare with."
    return ""


def _judgements(watched: Watched, since: str) -> list[Judgement]:
    """What people said since then about answers that are in the logs."""
    if not has_newer(watched.feedback, since):  # else the whole log would be read for nothing
        return []
    found = []
    for log in watched.logs:
        if salt_file(log).exists():
            requests, salt = read_requests([log], version=watched.version, batches=True), read_salt(log)
            of_log = read_judgements(
                watched.feedback, requests, watched.kind, salt, version=watched.version, since=since
            )
            found += of_log
    return found


def _bound(watched: Watched) -> float | None:
    """The accuracy on the frozen rows less what may be lost."""
    if watched.reference is None:
        return None
    bound = watched.reference.right - watched.settings.thresholds.accuracy
    return min(max(bound, EDGE), 1 - EDGE)


def _about_accuracy(accuracy: Accuracy, watched: Watched) -> Finding | None:
    if not accuracy.judged or watched.reference is None:
        return None
    evidence = accuracy.evidence
    sure = evidence.p_value <= watched.settings.alpha
    start = evidence.strongest if sure else evidence.starts[0]
    right, rows = evidence.right - start.right, evidence.rows - start.right - start.wrong
    observed, (low, high) = right / rows, wilson(right, rows)
    effect = watched.reference.right - observed
    threshold = watched.settings.thresholds.accuracy
    since = f" since {start.since[:16].replace('T', ' ')}" if start.since else ""
    return Finding(
        measure="accuracy",
        against="training reference",
        test="e-process",
        rows=rows,
        baseline_rows=watched.reference.rows,
        effect=effect,
        interval=(watched.reference.right - high, watched.reference.right - low),
        threshold=threshold,
        p_value=evidence.p_value,
        corrected=evidence.p_value,
        severity="alarm" if sure and effect >= threshold else "ok",
        sentence=f"{observed:.1%} of {rows:,} answers were right by /feedback{since} [{low:.1%}, {high:.1%}], was "
        f"{watched.reference.right:.1%} on the frozen rows",
    )


def _reason(findings: Sequence[Finding]) -> str:
    from components.monitoring.measure_words import NAMES

    grave = [finding for finding in findings if finding.severity != "ok"]
    if not grave:
        return f"Nothing has changed by as much as is asked, in {len(findings)} tests."
    first: dict[str, Finding] = {}
    for finding in grave:  # of a measure that has changed against both baselines, the graver one
        first.setdefault(finding.measure, finding)
    told = [f"{NAMES[each.measure]} ({each.sentence})" for each in first.values()]
    rest = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return f"Changed: {'; '.join(told[:MOST_TOLD])}{rest}."


def _too_few(watched: Watched, window: Window, enough: bool) -> str:
    if enough:
        return "There is nothing to compare with: no reference, and no good window yet."
    if not any(file.exists() for log in watched.logs for file in log_files(log)):
        return f"There is no request log {watched.logs[0].name}: nothing was asked yet, or serving.log_requests is off."
    found = max(len(window.rows), len(window.requests))
    return f"{found:,} new answered texts; monitor.min_rows is {watched.settings.min_rows:,}."
