"""What the gate asks of other seeds: that the candidate is not better by luck with its own.

The paired test says whether other rows would agree; this says whether other seeds would.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

import scipy

from components.config import Gate
from components.records import EvaluationReport, GateRule


def seeds_rule(reports: Sequence[EvaluationReport], champion: EvaluationReport, gate: Gate) -> GateRule:
    """That the mean over seeds is above what the gate asks for, by Student's t-test of one sample.

    Args:
        reports: of the candidate and of its recipe with other seeds; three or more.
        champion: its one score is taken as it is: it is the model that is live, not a recipe.
    """
    metric = champion.primary_metric
    scores = [report.metrics[metric] for report in reports]
    gap, spread = fmean(scores) - champion.metrics[metric], stdev(scores)
    error = spread / sqrt(len(scores))
    p_value = (
        float(scipy.stats.t.sf((gap - gate.bound) / error, len(scores) - 1)) if error else float(gap <= gate.bound)
    )
    sentence = (
        f"{len(scores)} seeds have {metric} {min(scores):.4f} to {max(scores):.4f} (standard deviation {spread:.4f}), "
        f"on average {gap:+.4f} against the champion; above {gate.bound:+.4f}: p = {p_value:.2g} (t-test over seeds), "
        f"at most {gate.alpha:.2g} is asked for"
    )
    return GateRule("seeds", p_value <= gate.alpha, sentence, p_value)
