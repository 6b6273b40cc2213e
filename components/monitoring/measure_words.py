"""What was found about a measure, in words: numbers in, one clause out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.monitor_config import Measure
from components.task_types.base import Numbers

SHOWN = 3  # words that changed most

NAMES: dict[Measure, str] = {
    "labels": "share of labels",
    "values": "numbers given",
    "confidence": "confidence",
    "entropy": "entropy of the scores",
    "length": "length of the texts",
    "unknown_tokens": "unknown tokens",
    "scripts": "scripts",
    "texts": "what the texts are about",
    "latency": "time of an answer",
    "errors": "requests without an answer",
    "accuracy": "accuracy",
}


def of_numbers(measure: Measure, ours: Numbers, theirs: Numbers) -> str:
    """Median and quartiles of both."""
    one, other = (np.quantile(each, (0.25, 0.5, 0.75)) for each in (ours, theirs))
    unit = " characters" if measure == "length" else ""
    return f"median {_spread(one)}{unit}, was {_spread(other)}"


def _spread(quartiles: Numbers) -> str:
    low, middle, high = (f"{value:.3g}" for value in quartiles)
    return f"{middle} (half of them {low} to {high})"


def of_means(ours: Numbers, theirs: Numbers) -> str:
    """The mean shares of both."""
    return f"{ours.mean():.2%} of the tokens, was {theirs.mean():.2%}"


def of_shares(words: Sequence[str], ours: Numbers, theirs: Numbers) -> str:
    """The words whose share changed most."""
    one, other = ours / ours.sum(), theirs / theirs.sum()
    most = np.argsort(-np.abs(one - other), kind="stable")[:SHOWN]
    return "; ".join(f"{words[place]} {one[place]:.1%}, was {other[place]:.1%}" for place in most)


def of_texts(effect: float) -> str:
    """How well the samples can be told apart."""
    return f"a classifier ranks {(1 + effect) / 2:.0%} of pairs rightly; 50% is chance"


def of_times(ours: Numbers, theirs: Numbers) -> str:
    """Median and 95th percentile of both, milliseconds."""
    one, other = (np.quantile(each, (0.5, 0.95)) for each in (ours, theirs))
    return f"median {one[0]:.1f} ms, p95 {one[1]:.1f}; was {other[0]:.1f} and {other[1]:.1f}"


def of_rates(failed: int, requests: int, before: tuple[int, int] | None) -> str:
    """How many requests had no answer."""
    was = f", was {before[0] / max(before[1], 1):.1%}" if before else ""
    return f"{failed:,} of {requests:,} requests ({failed / max(requests, 1):.1%}){was}"
