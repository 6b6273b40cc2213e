"""The BCa bootstrap and approximate randomisation, against SciPy, all swaps, and how often they err."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, bootstrap, spearmanr
from sklearn.metrics import f1_score

from components.reports.resampling import Bootstrap, bootstrap_difference, pair_up, randomisation_test
from components.sequences.classification_metrics import class_statistic
from components.sequences.regression_metrics import spearman_statistic


def words(codes) -> list[str]:
    return [str(code) for code in codes]


def macro_f1(truths, said):
    return class_statistic("macro_f1", truths, said)


def answers(truth, share, generator, classes=3):
    return np.where(generator.random(len(truth)) < share, truth, generator.integers(0, classes, len(truth)))


def drawn_pairs(rows=150, seed=0, ours=0.8, theirs=0.7, documents=None):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, rows)
    return truth, answers(truth, ours, generator), answers(truth, theirs, generator), documents


def test_the_bca_interval_is_scipys():
    truth, ours, theirs, _ = drawn_pairs()

    def difference(t, a, b):
        return f1_score(t, a, average="macro") - f1_score(t, b, average="macro")

    reference = bootstrap(
        (truth, ours, theirs), difference, paired=True, vectorized=False, n_resamples=800, method="BCa", rng=1
    )
    found = bootstrap_difference(pair_up(macro_f1, words(truth), words(ours), words(theirs)))
    assert found.observed == pytest.approx(difference(truth, ours, theirs))
    expected = tuple(reference.confidence_interval)
    assert found.interval(0.95) == pytest.approx(expected, abs=0.2 * (expected[1] - expected[0]) / 2)
    assert found.deviation == pytest.approx(reference.standard_error, rel=0.1)


def test_bias_and_acceleration_give_scipys_interval_from_the_same_values():
    """The correction alone: of a skewed statistic's bootstrap distribution, with SciPy's own resamplings."""
    sample = np.random.default_rng(4).lognormal(sigma=1.0, size=60)
    reference = bootstrap((sample,), np.var, n_resamples=4000, method="BCa", rng=2)
    left = np.array([np.var(np.delete(sample, row)) for row in range(len(sample))])
    influence = left.mean() - left
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    from scipy.stats import norm

    bias = norm.ppf((reference.bootstrap_distribution < np.var(sample)).mean())
    ours = Bootstrap(np.sort(reference.bootstrap_distribution), float(np.var(sample)), bias, acceleration)
    assert ours.interval(0.95) == pytest.approx(tuple(reference.confidence_interval), rel=1e-6)


def test_the_jackknife_of_patterns_is_that_of_rows():
    truth, ours, theirs, _ = drawn_pairs(rows=60)
    found = bootstrap_difference(pair_up(macro_f1, words(truth), words(ours), words(theirs)), samples=10)

    def without(row):
        keep = np.arange(60) != row
        scores = [f1_score(truth[keep], said[keep], average="macro") for said in (ours, theirs)]
        return scores[0] - scores[1]

    left = np.array([without(row) for row in range(60)])
    influence = left.mean() - left
    assert found.acceleration == pytest.approx((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))


@pytest.mark.parametrize("bound", [-0.05, 0.0, 0.05, 0.12])
def test_the_p_value_is_the_level_at_which_the_interval_meets_the_bound(bound):
    truth, ours, theirs, _ = drawn_pairs()
    found = bootstrap_difference(pair_up(macro_f1, words(truth), words(ours), words(theirs)))
    assert found.quantile(found.p_value(bound)) == pytest.approx(bound, abs=0.006)


def test_randomisation_over_all_swaps_is_the_exact_test():
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 40)
    ours = np.where(np.arange(40) < 34, truth, (truth + 1) % 3)
    theirs = ours.copy()
    theirs[:5] = (truth[:5] + 2) % 3
    theirs[37:] = truth[37:]
    pairs = pair_up(macro_f1, words(truth), words(ours), words(theirs))
    different = np.flatnonzero(ours != theirs)
    differences = []
    for swaps in product((False, True), repeat=len(different)):
        one, other = ours.copy(), theirs.copy()
        chosen = different[list(swaps)]
        one[chosen], other[chosen] = theirs[chosen], ours[chosen]
        differences.append(f1_score(truth, one, average="macro") - f1_score(truth, other, average="macro"))
    exact = np.mean(np.array(differences) >= pairs.difference - 1e-12)
    assert randomisation_test(pairs) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / pairs.samples))


def test_documents_of_one_row_are_rows():
    truth, ours, theirs, _ = drawn_pairs()
    columns = words(truth), words(ours), words(theirs)
    rows, documents = pair_up(macro_f1, *columns), pair_up(macro_f1, *columns, list(range(150)))
    assert randomisation_test(documents) == pytest.approx(randomisation_test(rows), abs=0.05)
    a, b = bootstrap_difference(rows), bootstrap_difference(documents)
    assert a.deviation == pytest.approx(b.deviation, rel=0.05)
    assert a.acceleration == pytest.approx(b.acceleration, abs=0.003)


def test_copies_of_a_document_add_nothing():
    """Each row four times: as documents of four they say what the single rows say; as rows they would be surer."""
    truth, ours, theirs, _ = drawn_pairs(rows=120)
    fourfold = [words(np.repeat(column, 4)) for column in (truth, ours, theirs)]
    single = bootstrap_difference(pair_up(macro_f1, words(truth), words(ours), words(theirs))).deviation
    together = bootstrap_difference(pair_up(macro_f1, *fourfold, np.repeat(np.arange(120), 4).tolist())).deviation
    apart = bootstrap_difference(pair_up(macro_f1, *fourfold)).deviation
    assert together == pytest.approx(single, rel=0.05)
    assert apart == pytest.approx(single / 2, rel=0.1)


def test_a_correlation_is_resampled_as_scipy_ranks_it():
    generator = np.random.default_rng(2)
    truth = generator.normal(size=80)
    ours, theirs = truth + 0.5 * generator.normal(size=80), truth + generator.normal(size=80)
    pairs = pair_up(
        lambda t, s: spearman_statistic(np.array(t, float), np.array(s, float)), *map(words, (truth, ours, theirs))
    )
    assert pairs.difference == pytest.approx(spearmanr(truth, ours).statistic - spearmanr(truth, theirs).statistic)
    assert randomisation_test(pairs) < 0.05


def test_models_that_say_the_same_are_never_better():
    truth, ours, _, _ = drawn_pairs()
    pairs = pair_up(macro_f1, words(truth), words(ours), words(ours))
    found = bootstrap_difference(pairs)
    assert randomisation_test(pairs) == 1.0
    assert found.interval(0.95) == (0.0, 0.0)
    assert found.p_value(-0.01) < 0.001
    assert found.p_value(0.01) > 0.999


@pytest.mark.parametrize("clustered", [False, True])
def test_equal_models_pass_at_most_alpha_of_the_time(clustered):
    """Also where the rows of a document are right or wrong together, which a test over rows takes for evidence."""
    generator = np.random.default_rng(6)
    passed, weeks = 0, 300
    for _ in range(weeks):
        truth = generator.integers(0, 3, 120)
        groups = np.repeat(np.arange(30), 4) if clustered else np.arange(120)
        right = generator.random((2, 120 // 4 if clustered else 120)) < 0.75
        said = [np.where(each[groups], truth, (truth + 1) % 3) for each in right]
        pairs = pair_up(macro_f1, words(truth), *map(words, said), groups.tolist() if clustered else None)
        passed += randomisation_test(pairs, samples=400) <= 0.05
    assert passed <= binom.ppf(0.999, weeks, 0.05)


def test_levels_far_below_five_per_cent_can_be_reached():
    """A confidence that is divided among 52 decisions: with too few resamplings nothing could ever pass."""
    truth, ours, theirs, _ = drawn_pairs(rows=400, ours=0.9, theirs=0.6)
    pairs = pair_up(macro_f1, words(truth), words(ours), words(theirs))
    alpha = 0.05 / 52
    assert randomisation_test(pairs, pairs.samples_for(alpha)) < alpha / 10
    assert pairs.samples_for(0.05) == pairs.samples
