"""The threshold rules that others ship, over the same windows: what the monitor is compared with.

Each takes the share of labels and four numbers of a window and its reference, and says whether that is an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from components.monitoring import two_samples

NUMBERS = ("confidence", "entropy", "characters", "unknown")
LABEL = "label"
BINS = 10  # of the distribution of a number
PSI, ANY_P, EVIDENTLY, THREE_SD = "PSI > 0.2", "any p < 0.05", "half of the columns drifted", "mean ± 3 sd of chunks"
RULES = (PSI, ANY_P, EVIDENTLY, THREE_SD)
MANY_ROWS = 1000  # of a reference, above which Evidently takes distances in place of tests
DISTANCE, DRIFT_SHARE = 0.1, 0.5
DEVIATIONS = 3
FEWEST_CHUNKS = 3
Counts = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Limits:
    """What a distance of each column may be, by the chunks of a reference."""

    upper: Mapping[str, float]


def learn_limits(reference: pd.DataFrame, rows: int) -> Limits:
    """Mean and three standard deviations of the Jensen-Shannon distances of chunks, as large as a window, to the whole.

    Source: NannyML's univariate drift with its default `StandardDeviationThreshold`.
    """
    size = min(rows, len(reference) // FEWEST_CHUNKS)
    chunks = [reference.iloc[start : start + size] for start in range(0, len(reference) - size + 1, size)]
    found = {name: [_distance(chunk, reference, name) for chunk in chunks] for name in (LABEL, *NUMBERS)}
    return Limits({name: float(np.mean(each) + DEVIATIONS * np.std(each)) for name, each in found.items()})


def apply_rules(window: pd.DataFrame, reference: pd.DataFrame, limits: Limits) -> dict[str, bool]:
    """What each rule says of a window."""
    both = {name: (window[name].to_numpy(float), reference[name].to_numpy(float)) for name in NUMBERS}
    _, ours, theirs = two_samples.count_words(window[LABEL], reference[LABEL])
    index = [_index(ours, theirs), *(_index(*_binned(*pair)) for pair in both.values())]
    p_values = [
        two_samples.chi_square(ours, theirs),
        *(two_samples.compare_numbers(*pair).p_value for pair in both.values()),
    ]
    drifted = [_evidently(window, reference, name) for name in (LABEL, *NUMBERS)]
    far = (_distance(window, reference, name) > limits.upper[name] for name in (LABEL, *NUMBERS))
    return {
        PSI: max(index) > 0.2,
        ANY_P: min(p_values) < 0.05,
        EVIDENTLY: bool(np.mean(drifted) >= DRIFT_SHARE),
        THREE_SD: any(far),
    }


def _evidently(window: pd.DataFrame, reference: pd.DataFrame, name: str) -> bool:
    """Whether a column counts as drifted.

    Source: Evidently's automatic choice since 0.1.50: of a reference above 1,000 rows the Wasserstein distance in
    standard deviations, of words the Jensen-Shannon distance, both from 0.1 on; of a smaller one a test at 0.05.
    """
    from scipy.stats import wasserstein_distance

    if name == LABEL:
        if len(reference) > MANY_ROWS:
            return _distance(window, reference, name) >= DISTANCE
        _, ours, theirs = two_samples.count_words(window[name], reference[name])
        return bool(two_samples.chi_square(ours, theirs) < 0.05)
    ours, theirs = window[name].to_numpy(float), reference[name].to_numpy(float)
    if len(reference) > MANY_ROWS:
        return bool(wasserstein_distance(theirs, ours) / max(float(np.std(theirs)), 0.001) >= DISTANCE)
    return two_samples.compare_numbers(ours, theirs).p_value < 0.05


def _distance(window: pd.DataFrame, reference: pd.DataFrame, name: str) -> float:
    from scipy.spatial.distance import jensenshannon

    if name == LABEL:
        _, ours, theirs = two_samples.count_words(window[name], reference[name])
    else:
        ours, theirs = _binned(window[name].to_numpy(float), reference[name].to_numpy(float))
    return float(np.nan_to_num(jensenshannon(ours, theirs)))


def _index(ours: Counts, theirs: Counts) -> float:
    return float(two_samples.stability_index(ours, theirs)[()])


def _binned(ours: Counts, theirs: Counts) -> tuple[Counts, Counts]:
    """How many are in each tenth of the reference."""
    edges = np.unique(np.quantile(theirs, np.linspace(0, 1, BINS + 1)[1:-1]))
    one, other = (
        np.bincount(np.searchsorted(edges, each, side="right"), minlength=len(edges) + 1).astype(float)
        for each in (ours, theirs)
    )
    return one, other
