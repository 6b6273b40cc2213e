"""A window against its baselines: samples in, a finding for each measure and baseline out, corrected for their number.

An alarm needs both: a p-value that is small after Holm's correction over all tests of the window, and an effect that
is as large as the run file's threshold. Half of that effect is watched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from components.monitor_config import Measure, Monitor
from components.monitoring import measure_words, two_samples
from components.monitoring.request_lines import OURS
from components.monitoring.samples import Window, projections_of
from components.monitoring.two_samples import Difference
from components.reports.statistics import holm
from components.task_types.base import Numbers

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["ok", "watch", "alarm"]
WATCHED = 0.5  # of the threshold
FEWEST_ROWS = 50  # of a sample that is compared at all
REFERENCE, LAST_GOOD, FIRST_GOOD = "training reference", "last good window", "first good window"

NUMBERS: Mapping[Measure, str] = {
    "values": "value",
    "confidence": "confidence",
    "entropy": "entropy",
    "length": "characters",
}
WORDS: Mapping[Measure, str] = {"labels": "label", "scripts": "script"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of a window against one baseline; `corrected` is the p-value after Holm's correction.

    `effect` is in the unit of `threshold`, which the measure has in `monitor.thresholds`.
    """

    measure: Measure
    against: str
    test: str
    rows: int
    baseline_rows: int
    effect: float
    interval: tuple[float, float] | None
    threshold: float
    p_value: float
    corrected: float
    severity: Severity
    sentence: str


@dataclass(frozen=True, slots=True)
class Baselines:
    """What a window is compared with; each may be missing. `first_good` is of the time after the version went live."""

    reference: pd.DataFrame | None = None
    last_good: Window | None = None
    first_good: Window | None = None


def compare(window: Window, baselines: Baselines, settings: Monitor) -> list[Finding]:
    """All findings about a window, the gravest first."""
    found = [
        finding
        for name, table in _tables(baselines)
        if min(len(table), len(window.rows)) >= FEWEST_ROWS
        for finding in _about_texts(window.rows, table, name, settings)
    ]
    found += _about_requests(window.requests, baselines.first_good, settings)
    corrected = holm([finding.p_value for finding in found])
    judged = [_judged(finding, p, settings.alpha) for finding, p in zip(found, corrected, strict=True)]
    return sorted(judged, key=lambda each: (GRAVITY[each.severity], -each.effect / each.threshold))


GRAVITY: Mapping[Severity, int] = {"alarm": 0, "watch": 1, "ok": 2}


def _judged(finding: Finding, corrected: float, alpha: float) -> Finding:
    severity: Severity = "ok"
    if corrected <= alpha and finding.effect >= WATCHED * finding.threshold:
        severity = "alarm" if finding.effect >= finding.threshold else "watch"
    return replace(finding, corrected=corrected, severity=severity)


def _tables(baselines: Baselines) -> Iterator[tuple[str, pd.DataFrame]]:
    if baselines.reference is not None:
        yield REFERENCE, baselines.reference
    if baselines.last_good is not None:
        yield LAST_GOOD, baselines.last_good.rows


def _about_texts(ours: pd.DataFrame, theirs: pd.DataFrame, against: str, settings: Monitor) -> Iterator[Finding]:
    def found(measure: Measure, test: str, difference: Difference, rows: tuple[int, int], sentence: str) -> Finding:
        return _finding(measure, against, test, difference, rows, sentence, settings)

    for measure, column in NUMBERS.items():
        if (both := _numbers(column, ours, theirs)) is not None:
            sentence = measure_words.of_numbers(measure, *both)
            difference = two_samples.compare_numbers(*both)
            yield found(measure, "Kolmogorov-Smirnov", difference, (len(both[0]), len(both[1])), sentence)
    if (both := _numbers("unknown", ours, theirs)) is not None:
        sentence = measure_words.of_means(*both)
        difference = two_samples.compare_means(*both)
        yield found("unknown_tokens", "Mann-Whitney", difference, (len(both[0]), len(both[1])), sentence)
    for measure, column in WORDS.items():
        if column in ours and column in theirs:
            words, one, other = two_samples.count_words(ours[column].dropna(), theirs[column].dropna())
            if min(one.sum(), other.sum()) >= FEWEST_ROWS:
                test = two_samples.compare_labels if measure == "labels" else two_samples.compare_shares
                sentence = measure_words.of_shares(words, one, other)
                yield found(measure, "chi-square", test(one, other), (int(one.sum()), int(other.sum())), sentence)
    one_side, other_side = projections_of(ours), projections_of(theirs)
    if min(len(one_side), len(other_side)) >= FEWEST_ROWS and list(one_side) == list(other_side):
        difference = two_samples.tell_apart(one_side.to_numpy(), other_side.to_numpy())
        sentence = measure_words.of_texts(difference.effect)
        yield found("texts", "classifier", difference, (len(one_side), len(other_side)), sentence)


def _numbers(column: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[Numbers, Numbers] | None:
    if column not in ours or column not in theirs:
        return None
    both = ours[column].dropna().to_numpy(np.float64), theirs[column].dropna().to_numpy(np.float64)
    return both if min(map(len, both)) >= FEWEST_ROWS else None


def _about_requests(ours: pd.DataFrame, first: Window | None, settings: Monitor) -> Iterator[Finding]:
    """Latency and errors have no training reference: the first good window of the version stands in for one."""
    failed, requests = int((ours["status"] > OURS).sum()), len(ours)
    if first is None:
        if requests:
            difference = _too_many(failed, requests, settings.thresholds.errors)
            sentence = measure_words.of_rates(failed, requests, None)
            yield _finding("errors", "no errors", "exact binomial", difference, (requests, 0), sentence, settings)
        return
    before = int((first.requests["status"] > OURS).sum()), len(first.requests)
    if min(requests, before[1]) >= FEWEST_ROWS:
        difference = two_samples.compare_rates((failed, requests), before)
        sentence = measure_words.of_rates(failed, requests, before)
        yield _finding("errors", FIRST_GOOD, "Fisher's exact", difference, (requests, before[1]), sentence, settings)
    answered = (each[(each["status"] == 200) & (each["rows"] > 0)] for each in (ours, first.requests))
    times = [each["ms"].to_numpy(np.float64) for each in answered]
    if min(map(len, times)) >= FEWEST_ROWS:
        difference = two_samples.compare_medians(times[0], times[1])
        sentence = measure_words.of_times(times[0], times[1])
        sizes = len(times[0]), len(times[1])
        yield _finding("latency", FIRST_GOOD, "Mann-Whitney", difference, sizes, sentence, settings)


def _too_many(failed: int, requests: int, threshold: float) -> Difference:
    from scipy.stats import binomtest

    return Difference(
        float(binomtest(failed, requests, WATCHED * threshold, alternative="greater").pvalue), failed / requests
    )


def _finding(
    measure: Measure,
    against: str,
    test: str,
    difference: Difference,
    rows: tuple[int, int],
    sentence: str,
    settings: Monitor,
) -> Finding:
    return Finding(
        measure=measure,
        against=against,
        test=test,
        rows=rows[0],
        baseline_rows=rows[1],
        effect=difference.effect,
        interval=difference.interval,
        threshold=float(getattr(settings.thresholds, measure)),
        p_value=difference.p_value,
        corrected=difference.p_value,
        severity="ok",
        sentence=sentence,
    )
