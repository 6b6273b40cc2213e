"""Which words made a score: Shapley values, found by asking the model about the text with words left out.

The score with all words minus the score with none is divided among the words: each gets its mean effect when it joins
the others in random orders. Whatever the orders, the effects of one order add up to that difference exactly, and so do
their means. No gradients are needed, so that any engine can be explained as it is served. A text of many words is
divided into as many parts of neighbouring words as can be asked about.

Source: Shapley, A value for n-person games, 1953; orders in reversed pairs: Mitchell et al., Sampling Permutations for
Shapley Value Estimation, JMLR 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.entities.text_units import split_units

MOST_PARTS = 24
EXACT_PARTS = 7  # 128 versions of a text: few enough to ask about all of them
VERSIONS = 256  # of a text that are asked about, where not all are
FEWEST_ORDERS = 4

Mask = NDArray[np.bool_]  # (versions, parts): which parts each version has


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring words of one of a row's texts, by code points."""

    input: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions of a row to ask about, the empty one first and the whole one last, and what to make of the scores.

    `steps` has one line for each order: the versions that it goes through, from the empty one to the whole one, and
    `joined` the part that joins at each step. Both are None where all versions are asked about.
    """

    parts: tuple[Part, ...]
    versions: Mask
    steps: NDArray[np.int64] | None = None  # (orders, parts + 1)
    joined: NDArray[np.int64] | None = None  # (orders, parts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The weight of each part, with the standard error of its estimate; zero where every version was asked about."""

    parts: tuple[Part, ...]
    weights: tuple[float, ...]
    errors: tuple[float, ...]
    score: float
    baseline: float
    versions: int
    exact: bool


def plan_explanation(row: Mapping[str, Any], inputs: Sequence[str], versions: int = VERSIONS, seed: int = 0) -> Plan:
    """What to ask to explain the answer to a row.

    Args:
        row: the row; its other keys stay as they are in every version.
        inputs: its texts.
        versions: of them about so many, where not all are asked about; with many parts more, for `FEWEST_ORDERS`.
        seed: of the orders; the same question gets the same explanation.
    """
    parts = _parts(row, inputs)
    count = len(parts)
    if count <= EXACT_PARTS:
        numbers = np.arange(2**count)
        return Plan(parts, (numbers[:, None] >> np.arange(count)) & 1 == 1)
    orders = max(FEWEST_ORDERS, (versions - 2) // (count - 1))
    drawn = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (orders // 2, 1)), axis=1)
    joined = np.concatenate([drawn, drawn[:, ::-1]])
    reached = np.zeros((len(joined), count + 1, count), bool)
    for step in range(count):
        reached[:, step + 1] = reached[:, step]
        reached[np.arange(len(joined)), step + 1, joined[:, step]] = True
    found, index = np.unique(reached.reshape(-1, count), axis=0, return_inverse=True)
    # As they are sorted, the empty version is the first and the whole one the last.
    return Plan(parts, found, index.reshape(len(joined), count + 1), joined)


def rows_of(row: Mapping[str, Any], plan: Plan) -> Iterator[dict[str, Any]]:
    """The row in each version of a plan: without the words that it leaves out."""
    for version in plan.versions:
        changed = dict(row)
        for part, kept in reversed(list(zip(plan.parts, version, strict=True))):
            if not kept:
                text = changed[part.input]
                changed[part.input] = text[: part.start] + text[part.end :]
        yield changed


def explain_scores(plan: Plan, scores: NDArray[np.float64]) -> Explanation:
    """The weights of a plan's parts from the score of each of its versions."""
    effects = _all_effects(plan, scores) if plan.steps is None else _drawn_effects(plan, scores)
    weights = effects.mean(axis=0)
    pairs = len(effects) // 2
    errors = np.zeros(len(plan.parts))
    if plan.steps is not None:  # an order and its reverse are one draw
        means = (effects[:pairs] + effects[pairs:]) / 2
        errors = means.std(axis=0, ddof=1) / np.sqrt(pairs)
    return Explanation(
        parts=plan.parts,
        weights=tuple(weights.tolist()),
        errors=tuple(errors.tolist()),
        score=float(scores[-1]),
        baseline=float(scores[0]),
        versions=len(scores),
        exact=plan.steps is None,
    )


def _all_effects(plan: Plan, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights themselves (1, parts): every version with and without a part, by how many orders pass there."""
    count = len(plan.parts)
    sizes = plan.versions.sum(axis=1)
    shares = np.array([1 / (count * comb(count - 1, size)) for size in range(count)])
    numbers = np.arange(len(scores))
    effects = np.zeros((1, count))
    for part in range(count):
        without = numbers[~plan.versions[:, part]]
        effects[0, part] = shares[sizes[without]] @ (scores[without + 2**part] - scores[without])
    return effects


def _drawn_effects(plan: Plan, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each part changed when it joined, in each order: (orders, parts)."""
    steps, joined = np.asarray(plan.steps), np.asarray(plan.joined)
    effects = np.zeros(joined.shape)
    np.put_along_axis(effects, joined, np.diff(scores[steps], axis=1), axis=1)
    return effects


def _parts(row: Mapping[str, Any], inputs: Sequence[str]) -> tuple[Part, ...]:
    """The words of all texts; neighbours together where they are too many."""
    words = {name: _words(row[name]) for name in inputs}
    total = sum(map(len, words.values()))
    if total <= MOST_PARTS:
        return tuple(Part(name, start, end) for name, found in words.items() for start, end in found)
    parts: list[Part] = []
    for name, found in words.items():
        share = max(1, MOST_PARTS * len(found) // total)
        cuts = np.linspace(0, len(found), share + 1).astype(int).tolist()
        parts += [Part(name, found[first][0], found[end - 1][1]) for first, end in pairwise(cuts)]
    return tuple(parts)


def _words(text: str) -> list[tuple[int, int]]:
    return split_units(text) or [(0, len(text))]
