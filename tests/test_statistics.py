"""The paired tests and the bootstrap, against SciPy, scikit-learn and plain searches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from components.reports.statistics import (
    bootstrap_scores,
    holm,
    interval,
    mcnemar_exact,
    mean_statistic,
    tango_interval,
    tango_score_test,
)
from components.sequences.classification_metrics import CLASS_METRICS, class_statistic

REFERENCE = {
    "accuracy": accuracy_score,
    "micro_f1": lambda t, p: f1_score(t, p, average="micro", zero_division=0),
    "macro_f1": lambda t, p: f1_score(t, p, average="macro", zero_division=0),
    "weighted_f1": lambda t, p: f1_score(t, p, average="weighted", zero_division=0),
    "mcc": matthews_corrcoef,
}


def words(codes) -> list[str]:
    return [f"class {code}" for code in codes]


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (12, 5), (1, 9), (40, 10)])
def test_mcnemar_is_the_binomial_tail(wins, losses):
    expected = 1.0 if wins + losses == 0 else binom.sf(wins - 1, wins + losses, 0.5)
    assert mcnemar_exact(wins, losses) == pytest.approx(expected)


@pytest.mark.parametrize("difference", [-0.1, -0.02, 0.0, 0.03, 0.08])
@pytest.mark.parametrize(("wins", "losses", "rows"), [(12, 5, 100), (3, 9, 60), (40, 22, 500)])
def test_tango_uses_the_constrained_maximum_of_the_likelihood(wins, losses, rows, difference):
    """The closed form against a search: the champion-only share that fits best when the difference is as supposed."""

    def unlikelihood(share):
        same = 1 - 2 * share - difference
        return -(wins * np.log(share + difference) + losses * np.log(share) + (rows - wins - losses) * np.log(same))

    bounds = (max(0.0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9)
    share = minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    deviation = np.sqrt(rows * (2 * share + difference * (1 - difference)))
    expected = norm.sf((wins - losses - rows * difference) / deviation)
    assert tango_score_test(wins, losses, rows, difference) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_tango_without_a_margin_is_the_mcnemar_chi_square_root():
    wins, losses = 30, 15
    assert tango_score_test(wins, losses, 200, 0.0) == pytest.approx(norm.sf((wins - losses) / np.sqrt(wins + losses)))


def test_models_that_never_differ_pass_non_inferiority_and_fail_superiority():
    assert tango_score_test(0, 0, 500, -0.01) < 0.05
    assert tango_score_test(0, 0, 500, 0.0) == 1.0


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")  # scikit-learn's, of the reference
@settings(max_examples=200, deadline=None)
@given(st.integers(2, 6), st.integers(5, 40), st.integers(0, 10_000))
def test_every_metric_of_whole_counts_is_scikit_learns(classes, rows, seed):
    generator = np.random.default_rng(seed)
    truth, answer = generator.integers(0, classes, (2, rows))
    for name in CLASS_METRICS:
        found = class_statistic(name, words(truth), words(answer))(np.ones((1, rows)))[0]
        assert found == pytest.approx(REFERENCE[name](truth, answer)), name


def test_a_resampling_scores_as_scikit_learn_does_on_the_drawn_rows():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 4, 50)
    answer = np.where(generator.random(50) < 0.7, truth, generator.integers(0, 4, 50))
    drawn = np.random.default_rng(7).integers(0, 50, size=(20, 50))
    got = bootstrap_scores([class_statistic("macro_f1", words(truth), words(answer))], 50, 20, seed=7)[0]
    assert got == pytest.approx([f1_score(truth[d], answer[d], average="macro", zero_division=0) for d in drawn])


def test_models_are_resampled_on_the_same_rows():
    generator = np.random.default_rng(0)
    truth, answer = generator.integers(0, 3, (2, 200))
    statistic = class_statistic("accuracy", words(truth), words(answer))
    ours, theirs = bootstrap_scores([statistic, statistic], 200, 50, seed=1)
    assert (ours == theirs).all()


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(5)
    inside = 0
    for seed in range(200):
        right = (generator.random(150) <= 0.8).astype(float)
        low, high = interval(bootstrap_scores([mean_statistic(right)], 150, 300, seed)[0], 0.95)
        inside += low <= 0.8 <= high
    assert 180 <= inside <= 199


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_two_equal_models_pass_the_test_at_most_alpha_of_the_time(metric):
    generator = np.random.default_rng(11)
    passed, trials = 0, 200
    for trial in range(trials):
        truth = generator.integers(0, 3, 300)
        ours, theirs = (np.where(generator.random(300) < 0.8, truth, (truth + 1) % 3) for _ in range(2))
        if metric == "accuracy":
            wins = int(((ours == truth) & (theirs != truth)).sum())
            losses = int(((ours != truth) & (theirs == truth)).sum())
            p_value = mcnemar_exact(wins, losses)
        else:
            statistics = [class_statistic(metric, words(truth), words(answers)) for answers in (ours, theirs)]
            a, b = bootstrap_scores(statistics, 300, 500, trial)
            p_value = ((a - b <= 0).sum() + 1) / 501
        passed += p_value <= 0.05
    assert passed <= binom.ppf(0.999, trials, 0.05)


def test_the_tango_interval_is_the_published_one():
    """Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009), as worked out by
    Fagerland, Lydersen and Laake, Recommended tests and confidence intervals for paired binomial proportions, 2014."""
    assert tango_interval(1, 7, 21, 0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_the_tango_interval_of_models_that_never_differ_is_where_the_test_turns():
    low, high = tango_interval(0, 0, 100, 0.95)
    assert low == -high
    assert tango_score_test(0, 0, 100, low) == pytest.approx(0.025, abs=1e-6)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(60, 400))
@settings(max_examples=50, deadline=None)
def test_the_tango_interval_holds_what_was_observed(wins, losses, rows):
    low, high = tango_interval(wins, losses, rows, 0.9)
    assert -1 <= low <= (wins - losses) / rows <= high <= 1


def test_holm_multiplies_by_how_many_are_left():
    """Holm's own order: the smallest times three, the next times two, never less than one before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_and_holm_are_those_of_statsmodels_on_published_data():
    """Literals of statsmodels 0.15.

    The two approval ratings of 1,600 Britons of Agresti, Categorical Data Analysis, 2nd edition, table 10.1: 150 and 86
    changed their minds (two-sided, `mcnemar(exact=True)`). The 15 p-values of Benjamini and Hochberg, Controlling the
    false discovery rate, JRSS B 57 (1995), section 4 (`multipletests(method="holm")`).
    """
    assert 2 * mcnemar_exact(150, 86) == pytest.approx(3.7159361395713866e-05)
    assert tango_score_test(150, 86, 1600, 0.0) == pytest.approx(1.5491e-05, rel=1e-3)  # z = 4.17 there
    published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719]
    adjusted = [0.0015, 0.0056, 0.0247, 0.1140, 0.2211, 0.2780, 0.2780, 0.2780, 0.3213, *[1.0] * 6]
    assert holm([*published, 0.6528, 0.7590, 1.0]) == pytest.approx(adjusted, abs=5e-5)


def test_documents_are_drawn_whole():
    """Each row four times: as documents of four they say what the single rows say; as rows they would be surer."""
    right = np.random.default_rng(2).random(120) < 0.7
    four = np.repeat(right, 4)
    single = bootstrap_scores([mean_statistic(right)], 120, 2000, seed=1)
    documents = [f"{row // 4:03}" for row in range(480)]
    whole = bootstrap_scores([mean_statistic(four)], 480, 2000, seed=1, documents=documents)
    surer = bootstrap_scores([mean_statistic(four)], 480, 2000, seed=1)
    assert whole == pytest.approx(single)
    assert surer.std() == pytest.approx(single.std() / 2, rel=0.1)
