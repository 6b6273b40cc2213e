"""Weeks of F1 of classes, F1 of entities, rank correlations and margins: how often they pass, and the power stated.

The stated power is that of the sentence in decision.md: from the standard error that the bootstrap finds in one week's
rows, the mean of some weeks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.report import Table
from components.reports.resampling import Pairs, bootstrap_difference, pair_up, randomisation_test
from components.sequences.classification_metrics import class_statistic
from components.task_types import find_task_type

ALPHA = 0.05
SAMPLES = 500
STATED_WEEKS = 50  # whose bootstrap says what power would be stated
ENTITIES = 2  # of a row
Generator = np.random.Generator
Week = Callable[[float, Generator], Pairs]


def stated_power(difference: float, bound: float, deviations: Iterable[float]) -> float:
    """The power of a test against a bound, by the standard errors of some weeks; `detectable` turned round."""
    shares = [norm.cdf((difference - bound) / each - norm.isf(ALPHA)) if each else 0.0 for each in deviations]
    return float(np.mean(shares))


@dataclass(frozen=True)
class Kind:
    """A metric, the gains of the candidate that are tried, and a week's answers of both models."""

    name: str
    rows: int
    gains: tuple[float, ...]
    week: Week


def other_metrics_weeks(weeks: int, generator: Generator) -> Table:
    """Approximate randomisation where the metric is no share of right rows."""
    table = Table(
        f"Metrics that are no share of right rows: share of {weeks:,} weeks in which the candidate is promoted",
        (
            *("metric", "frozen rows", "true difference", "the gate (approximate randomisation)", "its stated power"),
            "higher score wins",
        ),
    )
    for kind in KINDS:
        for gain in kind.gains:
            passed, higher, differences, deviations = 0, 0, [], []
            for week in range(weeks):
                pairs = kind.week(gain, generator)
                passed += randomisation_test(pairs, samples=SAMPLES, seed=week) <= ALPHA
                differences.append(pairs.difference)
                higher += pairs.difference > 0
                if gain and week < STATED_WEEKS:
                    deviations.append(bootstrap_difference(pairs, SAMPLES, week).deviation)
            found = float(np.mean(differences)) if gain else 0.0
            stated = f"{stated_power(found, 0.0, deviations):.1%}" if gain else ""
            table.add(kind.name, kind.rows, f"{found:+.3f}", f"{passed / weeks:.1%}", stated, f"{higher / weeks:.1%}")
    return table


def answers(truth: Any, right: Any, classes: int, generator: Generator) -> Any:
    """A model's answers: right on these rows, a wrong class elsewhere."""
    return np.where(right, truth, (truth + generator.integers(1, classes, len(truth))) % classes)


def words(codes: Any) -> list[str]:
    return [f"class {code}" for code in codes]


def drawn(rows: int, gain: float, generator: Generator, groups: Any = None) -> tuple[Any, Any, Any]:
    """Truth and two models' answers; rows of a group are hard or easy together, but differ between the models."""
    truth = generator.choice(5, rows, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    places = np.arange(rows) if groups is None else groups
    hard = generator.normal(size=places.max() + 1)[places]
    said = []
    for lift in (gain, 0.0):
        own = generator.normal(size=places.max() + 1)[places]
        right = 0.8 * hard + 0.6 * own < norm.ppf(np.clip(0.85 + lift, 0, 1))
        said.append(answers(truth, right, 5, generator))
    return truth, said[0], said[1]


def _macro_f1(gain: float, generator: Generator) -> Pairs:
    truth, ours, theirs = drawn(400, gain, generator)
    return pair_up(lambda t, s: class_statistic("macro_f1", t, s), words(truth), words(ours), words(theirs))


def _spearman(gain: float, generator: Generator) -> Pairs:
    """Two models that err alike in part; the candidate errs less by the gain."""
    truth, hard = generator.normal(size=(2, 400))
    said = [truth + 0.4 * hard + (0.4 - lift) * generator.normal(size=400) for lift in (gain, 0.0)]
    kind = find_task_type("regression")
    texts = [[f"{value:.6f}" for value in each] for each in (truth, *said)]
    return pair_up(lambda t, s: kind.statistic("spearman", t, s), texts[0], texts[1], texts[2])


def _entities(gain: float, generator: Generator) -> Pairs:
    """Two entities a row; one that is missed has wrong borders, as most are."""
    starts = generator.integers(0, 20, (400, ENTITIES)) + 40 * np.arange(ENTITIES)
    hard = generator.normal(size=(400, ENTITIES))
    said = []
    for lift in (gain, 0.0):
        right = 0.8 * hard + 0.6 * generator.normal(size=(400, ENTITIES)) < norm.ppf(0.85 + lift)
        said.append(starts + ~right)
    kind = find_task_type("token_classification")
    texts = [
        [json.dumps([[int(start), int(start) + 5, "X"] for start in row]) for row in each] for each in (starts, *said)
    ]
    return pair_up(lambda t, s: kind.statistic("f1", t, s), texts[0], texts[1], texts[2])


KINDS = (
    Kind("macro F1 of 5 unequal classes", 400, (0.0, 0.03, 0.06), _macro_f1),
    Kind("Spearman's correlation", 400, (0.0, 0.05, 0.1), _spearman),
    Kind("F1 of entities", 400, (0.0, 0.03, 0.06), _entities),
)
