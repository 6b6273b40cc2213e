"""Tests of two samples, each with an effect size beside its p-value: columns of numbers or words in, numbers out.

SciPy has the tests and scikit-learn the classifier; what is ours is the stability index with chance taken off it, and
what is pooled so that the chi-square test holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Numbers

FEWEST_EXPECTED = 5.0  # rows of a category in the smaller sample; rarer ones are pooled for the chi-square test
SMOOTHING = 0.5  # rows that are added to each category of the index, so that an empty one has a logarithm
RESAMPLINGS = 200
MOST_TRAINING_ROWS = 2000  # of each sample, for the classifier: more hardly tell it more
SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How two samples differ: how surely, and by how much; `interval` is the effect's at 95 %, where it has one."""

    p_value: float
    effect: float
    interval: tuple[float, float] | None = None


def count_words(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], Numbers, Numbers]:
    """The words of two samples, and how often each has them."""
    ours, theirs = Counter(one), Counter(other)
    words = sorted(ours.keys() | theirs.keys())
    one_side, other_side = (np.array([found[word] for word in words], np.float64) for found in (ours, theirs))
    return words, one_side, other_side


def compare_shares(ours: Numbers, theirs: Numbers) -> Difference:
    """Chi-square test of homogeneity, and the share of rows that would have to change their word.

    Args:
        ours: rows of each word in the window.
        theirs: in the baseline.
    """
    distance = float(np.abs(ours / ours.sum() - theirs / theirs.sum()).sum() / 2)
    return Difference(chi_square(ours, theirs), distance)


def compare_labels(ours: Numbers, theirs: Numbers) -> Difference:
    """Chi-square test of homogeneity, and the population stability index without what chance adds to it.

    With so many labels k and samples of n and m rows, the index of two samples of one population is about
    (k - 1)(1/n + 1/m): at 77 labels and 500 rows that is 0.18 of nothing at all. The bootstrap adds the same to the
    index once more; what it adds is taken off, and the interval is the basic one, which turns it over.

    Source: Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model
    Validation 14 (2020); the basic bootstrap interval: Davison and Hinkley, Bootstrap Methods (1997), 5.2.1.
    """
    observed = float(stability_index(ours, theirs)[()])
    generator = np.random.default_rng(SEED)
    drawn = [generator.multinomial(int(n.sum()), n / n.sum(), size=RESAMPLINGS) for n in (ours, theirs)]
    again = stability_index(*(each.astype(np.float64) for each in drawn))
    low, high = (2 * observed - float(value) for value in np.quantile(again, (0.975, 0.025)))
    effect = max(0.0, 2 * observed - float(again.mean()))
    return Difference(chi_square(ours, theirs), effect, (max(0.0, low), max(0.0, high)))


def stability_index(ours: Numbers, theirs: Numbers) -> Numbers:
    """The population stability index: sum of (p - q) ln(p / q) over the last axis; half a row is added everywhere."""
    p, q = ((each + SMOOTHING) / (each + SMOOTHING).sum(axis=-1, keepdims=True) for each in (ours, theirs))
    result: Numbers = np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))
    return result


def chi_square(ours: Numbers, theirs: Numbers) -> float:
    """P-value of the chi-square test of homogeneity; words with too few expected rows are one word together."""
    from scipy.stats import chi2_contingency

    table = np.stack([ours, theirs])
    smaller = table.sum(axis=1).min()
    expected = table.sum(axis=0) / table.sum() * smaller
    rare = expected < FEWEST_EXPECTED
    pooled = table[:, ~rare]
    if rare.any():
        rest = table[:, rare].sum(axis=1, keepdims=True)
        if rest.sum() / table.sum() * smaller < FEWEST_EXPECTED and pooled.shape[1]:
            scarcest = int(np.argmin(pooled.sum(axis=0)))  # what is still too rare joins the rarest that is not
            pooled[:, scarcest] += rest[:, 0]
        else:
            pooled = np.hstack([pooled, rest])
    return float(chi2_contingency(pooled, correction=False).pvalue) if pooled.shape[1] > 1 else 1.0


def compare_numbers(ours: Numbers, theirs: Numbers) -> Difference:
    """Two-sample Kolmogorov-Smirnov test; the effect is the largest gap between the two distribution functions."""
    from scipy.stats import ks_2samp

    found = ks_2samp(ours, theirs, method="asymp")
    return Difference(float(found.pvalue), float(found.statistic))


def compare_means(ours: Numbers, theirs: Numbers) -> Difference:
    """Whether ours tend to be larger, by Mann-Whitney's test; the effect is the difference of the means."""
    return Difference(_larger(ours, theirs), float(ours.mean() - theirs.mean()))


def compare_medians(ours: Numbers, theirs: Numbers) -> Difference:
    """Whether ours tend to be larger, by Mann-Whitney's test; the effect is the rise of the median, 0.5 for half."""
    return Difference(_larger(ours, theirs), float(np.median(ours) / max(float(np.median(theirs)), 1e-9) - 1))


def _larger(ours: Numbers, theirs: Numbers) -> float:
    from scipy.stats import mannwhitneyu

    if not len(ours) or not len(theirs) or np.ptp(np.concatenate([ours, theirs])) == 0:
        return 1.0
    return float(mannwhitneyu(ours, theirs, alternative="greater", method="asymptotic").pvalue)


def compare_rates(ours: tuple[int, int], theirs: tuple[int, int]) -> Difference:
    """Whether our rate is higher: Fisher's exact test of (events, trials); the effect is the difference."""
    from scipy.stats import fisher_exact

    (a, n), (b, m) = ours, theirs
    p_value = fisher_exact([[a, n - a], [b, m - b]], alternative="greater").pvalue
    return Difference(float(p_value), a / max(n, 1) - b / max(m, 1))


def tell_apart(ours: NDArray[np.floating], theirs: NDArray[np.floating], seed: int = SEED) -> Difference:
    """Classifier two-sample test on vectors: can a row's sample be told from its vector?

    Half of each sample teaches a classifier, Mann-Whitney's test asks whether it ranks the other half better than
    chance; then the halves change places. The p-value is twice the smaller of the two (Bonferroni), the effect the
    mean of 2 AUC - 1: 0 for two samples of one population, 1 where every row can be told.

    Source: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, ICLR 2017; the AUC in place of the accuracy,
    so that samples of different sizes do: Kim et al., Classification accuracy as a proxy for two-sample testing, 2021.
    """
    generator = np.random.default_rng(seed)
    one, other = ([each[part] for part in _halves(len(each), generator)] for each in (ours, theirs))
    if min(map(len, (*one, *other))) < 2:
        return Difference(1.0, 0.0)
    found = [_ranked(one[k], other[k], one[1 - k], other[1 - k]) for k in (0, 1)]
    return Difference(min(1.0, 2 * min(p for p, _ in found)), max(0.0, float(np.mean([gap for _, gap in found]))))


def _halves(rows: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    drawn = generator.permutation(rows)[: 2 * MOST_TRAINING_ROWS]
    return drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]


def _ranked(
    ours: NDArray[np.floating], theirs: NDArray[np.floating], our_rest: NDArray[np.floating], rest: NDArray[np.floating]
) -> tuple[float, float]:
    """P-value and 2 AUC - 1 on the rest of a linear classifier that learns from vectors and their squares."""
    from scipy.stats import mannwhitneyu
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    everything = np.vstack([ours, theirs])
    centre, scale = everything.mean(axis=0), np.maximum(everything.std(axis=0), 1e-9)

    def seen(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
        moved = (vectors - centre) / scale
        return np.hstack([moved, np.minimum(moved**2, 16)])

    truth = np.repeat([1, 0], [len(ours), len(theirs)])
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05, priors=[0.5, 0.5]).fit(seen(everything), truth)
    scores = [model.decision_function(seen(each)) for each in (our_rest, rest)]
    test = mannwhitneyu(*scores, alternative="greater", method="asymptotic")
    return float(test.pvalue), float(2 * test.statistic / (len(our_rest) * len(rest)) - 1)
