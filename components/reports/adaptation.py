"""Whether a base model that was pretrained on domain text makes a better task model: a paired comparison over seeds.

Two questions, and both have to say yes. Would other seeds say the same: a t-interval of the seeds' differences. Would
other rows say the same: a bootstrap of the frozen rows, or of their documents where the run file names them, of the
difference that is averaged over the seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from components.digests import canonical
from components.errors import DataError
from components.records import EvaluationReport, as_json
from components.reports.evaluation import PREDICTIONS, REPORT, documents_of
from components.reports.statistics import bootstrap_scores, interval
from components.task_types import find_task_type
from components.task_types.base import Numbers

SAMPLES = 10_000
SEED = 20_240_102
CONFIDENCE = 0.95
FEWEST_SEEDS = 2  # of which a spread can be told

Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Scores from the untouched and the adapted base, seed by seed, and their difference (adapted minus untouched).

    The intervals are at 95 %: over seeds by Student's t, over frozen rows by a paired bootstrap.
    """

    metric: str
    seeds: tuple[int, ...]
    untouched: tuple[float, ...]
    adapted: tuple[float, ...]
    difference: float
    over_seeds: tuple[float, float]
    over_rows: tuple[float, float]
    rows: int
    verdict: Verdict
    sentence: str


def compare_bases(
    seeds: Sequence[int], untouched: Sequence[EvaluationReport], adapted: Sequence[EvaluationReport], folder: Path
) -> Adaptation:
    """The comparison, also written to `folder` as `adaptation.json` and `adaptation.md`.

    Args:
        seeds: of the fine-tunings; at least two.
        untouched: their reports with the untouched base, in the order of the seeds.
        adapted: likewise with the adapted one.

    Raises:
        DataError: the reports are not about the same rows, or there is one seed only.
    """
    if len(seeds) < FEWEST_SEEDS:
        raise DataError("One seed tells nothing of how much seeds differ.", "take at least two, better five.")
    if len({report.test_digest for report in (*untouched, *adapted)}) > 1:
        raise DataError("The reports are about different frozen rows.", "run the comparison again.")
    metric = untouched[0].primary_metric
    scores = [[report.metrics[metric] for report in arm] for arm in (untouched, adapted)]
    gaps = np.subtract(scores[1], scores[0])
    over_seeds = seed_interval(gaps)
    over_rows = interval(_row_gaps(metric, untouched, adapted), CONFIDENCE)
    verdict = _verdict(over_seeds, over_rows)
    made = Adaptation(
        metric=metric,
        seeds=tuple(seeds),
        untouched=tuple(scores[0]),
        adapted=tuple(scores[1]),
        difference=float(gaps.mean()),
        over_seeds=over_seeds,
        over_rows=over_rows,
        rows=untouched[0].rows,
        verdict=verdict,
        sentence=_sentence(metric, float(gaps.mean()), over_seeds, over_rows, len(seeds), untouched[0].rows, verdict),
    )
    (folder / "adaptation.json").write_text(canonical(as_json(made)), encoding="utf-8")
    (folder / "adaptation.md").write_text(as_markdown(made), encoding="utf-8")
    return made


def seed_interval(gaps: Numbers) -> tuple[float, float]:
    """The t-interval of a mean of paired differences."""
    from scipy.stats import t

    count = len(gaps)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(gaps.std(ddof=1)) / sqrt(count)
    return float(gaps.mean()) - half, float(gaps.mean()) + half


def _row_gaps(metric: str, untouched: Sequence[EvaluationReport], adapted: Sequence[EvaluationReport]) -> Numbers:
    """The difference averaged over the seeds, on resampled rows or documents, the same for all seeds and bases."""
    task_type = find_task_type(untouched[0].task_type)
    statistics = []
    for report in (*untouched, *adapted):
        rows = pd.read_parquet(report.folder / PREDICTIONS)
        statistics.append(task_type.statistic(metric, rows["label"].tolist(), rows["predicted"].tolist()))
    values = bootstrap_scores(statistics, untouched[0].rows, SAMPLES, SEED, _documents(untouched[0]))
    gaps: Numbers = values[len(untouched) :].mean(axis=0) - values[: len(untouched)].mean(axis=0)
    return gaps


def _documents(report: EvaluationReport) -> list[str] | None:
    """The document of each row, where `evaluation.documents` names their column."""
    column = json.loads((report.folder / REPORT).read_text(encoding="utf-8")).get("documents")
    return documents_of(pd.read_parquet(report.folder / PREDICTIONS), column)


def _verdict(*intervals: tuple[float, float]) -> Verdict:
    if all(low > 0 for low, _ in intervals):
        return "better"
    return "worse" if all(high < 0 for _, high in intervals) else "no difference shown"


def _sentence(
    metric: str,
    gap: float,
    over_seeds: tuple[float, float],
    over_rows: tuple[float, float],
    seeds: int,
    rows: int,
    verdict: Verdict,
) -> str:
    found = {
        "better": "The adapted base is better",
        "worse": "The adapted base is worse",
        "no difference shown": "No difference is shown",
    }[verdict]
    return (
        f"{found}: {metric} {gap:+.4f} on average of {seeds} seeds, 95 % interval {over_seeds[0]:+.4f} to "
        f"{over_seeds[1]:+.4f} over seeds and {over_rows[0]:+.4f} to {over_rows[1]:+.4f} over {rows:,} frozen rows."
    )


def as_markdown(made: Adaptation) -> str:
    """The comparison as a table."""
    lines = [
        made.sentence,
        "",
        f"| seed | untouched base, {made.metric} | adapted base | difference |",
        "|---|---|---|---|",
    ]
    for seed, before, after in zip(made.seeds, made.untouched, made.adapted, strict=True):
        lines.append(f"| {seed} | {before:.4f} | {after:.4f} | {after - before:+.4f} |")
    return "\n".join(lines) + "\n"
