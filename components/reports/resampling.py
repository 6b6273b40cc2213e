"""Paired resampling of what two models said: the BCa bootstrap and approximate randomisation, over rows or documents.

Rows on which truth and both answers are the same are one pattern, and only how often each pattern is drawn matters:
five thousand rows of a classifier are a few hundred patterns, and thousands of resamplings take parts of a second.
SciPy's `bootstrap` is the reference in the tests; it has no documents, and asks for the metric once a resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from components.task_types.base import Numbers, Statistic

MOST_SAMPLES = 5000  # resamplings: the p-value's own standard error is then 0.003 near 0.05
FEWEST_SAMPLES = 1000  # where each is costly; the randomisation test is exact with any number
WHOLE_CELLS = 5_000_000  # weights drawn in all
BELOW_ALPHA = 20  # resamplings that are expected below a level
ENOUGH = 400  # swaps that do as well: the p-value is far above any level then, and known to 5 %
SEED = 20_240_101
CHUNK_CELLS = 100_000  # weights drawn at a time: what they become stays in the processor's cache
MOST_BLOCKS = 500  # groups of a jackknife: the error that is left in the acceleration is far below one per cent
ROUNDING = 1e-12  # two scores that are so close are the same
MakeStatistic = Callable[[Sequence[str], Sequence[str]], Statistic]


@dataclass(frozen=True, slots=True)
class Pairs:
    """What two models said about the same rows, as patterns.

    `ours` and `theirs` are the metric by how often each pattern is drawn (resamplings, patterns); `mixed` gets twice as
    many columns, first for our answers, then for theirs. `rows` counts the rows of each pattern. `documents` is a
    sparse table (documents, patterns), or None where every row stands for itself.
    """

    ours: Statistic
    theirs: Statistic
    mixed: Statistic
    rows: Numbers
    differs: NDArray[np.bool_]
    documents: Any | None

    @property
    def width(self) -> int:
        """Weights that one resampling takes."""
        return max(len(self.rows), 0 if self.documents is None else self.documents.shape[0])

    @property
    def samples(self) -> int:
        """How many resamplings are worth their time."""
        return int(np.clip(WHOLE_CELLS // self.width, FEWEST_SAMPLES, MOST_SAMPLES))

    def samples_for(self, alpha: float) -> int:
        """At least so many that p-values far below `alpha` are possible: none is below one in the resamplings."""
        return max(self.samples, ceil(BELOW_ALPHA / alpha))

    @property
    def difference(self) -> float:
        """The metric of our answers less that of theirs, on all rows."""
        return float(self.differences(self.rows[None, :])[0])

    def differences(self, weights: Numbers) -> Numbers:
        """The same on resampled patterns."""
        found: Numbers = self.ours(weights) - self.theirs(weights)
        return found


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The bootstrap distribution of a difference, with its bias and acceleration corrections.

    Source: Efron, Better bootstrap confidence intervals, JASA 82 (1987).
    """

    values: Numbers  # sorted
    observed: float
    bias: float
    acceleration: float

    @property
    def deviation(self) -> float:
        """The standard error of the difference."""
        return float(self.values.std())

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided BCa interval."""
        tail = (1 - confidence) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def quantile(self, level: float) -> float:
        """The end of a one-sided BCa interval: the true difference is below it with probability `level`."""
        moved = self.bias + scipy.stats.norm.ppf(level)
        adjusted = scipy.stats.norm.cdf(self.bias + moved / (1 - self.acceleration * moved))
        return float(np.quantile(self.values, np.clip(adjusted, 0, 1)))

    def p_value(self, bound: float) -> float:
        """One-sided p-value against "the difference is at most `bound`": the level at which `quantile` meets it."""
        at_most = np.searchsorted(self.values, bound + ROUNDING, side="right")
        moved = scipy.stats.norm.ppf((at_most + 1) / (len(self.values) + 2)) - self.bias
        below = 1 + self.acceleration * moved
        return float(scipy.stats.norm.cdf(moved / below - self.bias)) if below > 0 else float(moved > 0)


def pair_up(
    make: MakeStatistic,
    truths: Sequence[str],
    ours: Sequence[str],
    theirs: Sequence[str],
    documents: Sequence[Any] | None = None,
) -> Pairs:
    """What two models said about the same rows, ready to be resampled.

    Args:
        make: the metric from true answers and a model's own.
        documents: the document of each row; None where rows are independent.
    """
    places: dict[tuple[str, str, str], int] = {}
    of_row = np.array([places.setdefault(key, len(places)) for key in zip(truths, ours, theirs, strict=True)])
    truth, one, other = (list(column) for column in zip(*places, strict=True))
    return Pairs(
        ours=make(truth, one),
        theirs=make(truth, other),
        mixed=make([*truth, *truth], [*one, *other]),
        rows=np.bincount(of_row, minlength=len(places)).astype(np.float64),
        differs=np.array([mine != others for mine, others in zip(one, other, strict=True)]),
        documents=None if documents is None else _table(documents, of_row, len(places)),
    )


def _table(documents: Sequence[Any], of_row: NDArray[np.int64], patterns: int) -> Any:
    from scipy.sparse import coo_array

    _, document = np.unique(np.asarray(documents, str), return_inverse=True)
    counted = (np.ones(len(of_row)), (document, of_row))
    return coo_array(counted, shape=(int(document.max()) + 1, patterns)).tocsr()


def bootstrap_difference(pairs: Pairs, samples: int | None = None, seed: int = SEED) -> Bootstrap:
    """The difference of two models on resampled rows or documents."""
    samples = samples or pairs.samples
    generator = np.random.default_rng(seed)
    values = np.concatenate([pairs.differences(_drawn(pairs, size, generator)) for size in _chunks(pairs, samples)])
    observed = pairs.difference
    values[np.abs(values - observed) < ROUNDING] = observed
    below = ((values < observed).mean() + (values <= observed).mean()) / 2
    bias = float(scipy.stats.norm.ppf(np.clip(below, 1 / (samples + 1), samples / (samples + 1))))
    return Bootstrap(np.sort(values), observed, bias, _acceleration(pairs))


def _drawn(pairs: Pairs, size: int, generator: np.random.Generator) -> Numbers:
    """How often each pattern is in each resampling: (size, patterns)."""
    if pairs.documents is None:
        total = int(pairs.rows.sum())
        return generator.multinomial(total, pairs.rows / total, size=size).astype(np.float64)
    count = pairs.documents.shape[0]
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=size)
    result: Numbers = drawn @ pairs.documents
    return result


def _chunks(pairs: Pairs, samples: int) -> Iterator[int]:
    size = max(1, CHUNK_CELLS // pairs.width)
    yield from (min(size, samples - start) for start in range(0, samples, size))


def _acceleration(pairs: Pairs) -> float:
    """From a jackknife over blocks of rows or documents: the skewness of their influence.

    Blocks of d rows give the same as single rows: their mean has a skewness that is smaller by the root of d, and
    there are d times fewer of them.
    """
    unit, blocks = _blocks(pairs)
    if len(unit) < 2:  # nothing would be left
        return 0.0
    left = pairs.differences(pairs.rows[None, :] - blocks)
    influence = np.average(left, weights=unit) - left
    square = (unit * influence**2).sum()
    return float((unit * influence**3).sum() / (6 * square**1.5)) if square > 0 else 0.0


def _blocks(pairs: Pairs) -> tuple[Numbers, Numbers]:
    """How many units are like each block, and each block's rows by pattern: (blocks, patterns)."""
    documents = pairs.documents
    if documents is None and len(pairs.rows) <= MOST_BLOCKS:
        return pairs.rows, np.eye(len(pairs.rows))
    generator = np.random.default_rng(SEED)
    units = int(pairs.rows.sum()) if documents is None else documents.shape[0]
    block = generator.permutation(units) % min(units, MOST_BLOCKS)
    table = np.zeros((min(units, MOST_BLOCKS), len(pairs.rows)))
    if documents is None:
        np.add.at(table, (block, np.repeat(np.arange(len(pairs.rows)), pairs.rows.astype(int))), 1)
    else:
        rows = documents.tocoo()
        np.add.at(table, (block[rows.row], rows.col), rows.data)
    return np.ones(len(table)), table


def randomisation_test(pairs: Pairs, samples: int | None = None, seed: int = SEED) -> float:
    """One-sided p-value of the approximate randomisation test: how often swapping answers does as well by chance.

    If the two models are equally good, it does not matter which of them gave which answer: each row's two answers, or
    each document's, are swapped by the toss of a coin.

    Source: Noreen, Computer-Intensive Methods for Testing Hypotheses (1989); Yeh, More accurate tests for the
    statistical significance of result differences, COLING 2000. The observed sample counts as one of the swaps.
    It ends early where many swaps do as well: Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 1991.
    """
    samples = samples or pairs.samples
    generator = np.random.default_rng(seed + 1)
    wanted = pairs.difference - ROUNDING
    if not pairs.differs.any():
        return 1.0
    as_good = made = 0
    for size in _chunks(pairs, samples):
        as_good += int((_swapped(pairs, size, generator) >= wanted).sum())
        made += size
        if as_good >= ENOUGH:
            break
    return (as_good + 1) / (made + 1)


def _swapped(pairs: Pairs, size: int, generator: np.random.Generator) -> Numbers:
    """The difference after a random half of the answers were swapped."""
    kept = np.tile(pairs.rows, (size, 1))
    if pairs.documents is None:
        counts = pairs.rows[pairs.differs].astype(int)
        kept[:, pairs.differs] = generator.binomial(counts, 0.5, size=(size, len(counts)))
    else:
        kept = generator.integers(0, 2, size=(size, pairs.documents.shape[0])) @ pairs.documents
        kept = np.asarray(kept, np.float64)
    moved = pairs.rows - kept
    found: Numbers = pairs.mixed(np.hstack([kept, moved])) - pairs.mixed(np.hstack([moved, kept]))
    return found
