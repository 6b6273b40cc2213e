"""The monitor's statistics against SciPy, published examples and their own promises in simulation."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import rel_entr
from scipy.stats import norm

from components.monitoring import two_samples
from components.monitoring.accuracy import Evidence, Judgement, add_judgements, log_evidence
from components.reports.statistics import wilson

LABELS = 77


def draws(count: int, rows: int, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return generator.multinomial(rows, shares, size=count).astype(float)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(3)


def test_the_index_is_the_symmetric_divergence_of_scipy():
    ours, theirs = np.array([30.0, 50.0, 20.0]), np.array([100.0, 60.0, 40.0])
    p, q = ((each + 0.5) / (each + 0.5).sum() for each in (ours, theirs))
    expected = rel_entr(p, q).sum() + rel_entr(q, p).sum()
    assert two_samples.stability_index(ours, theirs) == pytest.approx(expected)


def test_chance_adds_to_the_index_what_was_published_and_it_is_taken_off(generator):
    """Yurdakul and Naranjo: (k - 1)(1/n + 1/m) where nothing has changed; at 77 labels that alone comes near 0.2."""
    shares = np.full(LABELS, 1 / LABELS)
    pairs = list(zip(draws(60, 500, shares, generator), draws(60, 3000, shares, generator), strict=True))
    raw = np.mean([two_samples.stability_index(*pair) for pair in pairs])
    assert raw == pytest.approx((LABELS - 1) * (1 / 500 + 1 / 3000), rel=0.15)
    effects = [two_samples.compare_labels(*pair) for pair in pairs]
    assert np.mean([each.effect for each in effects]) < 0.03
    assert max(each.effect for each in effects) < 0.1


def test_the_interval_of_the_index_covers_a_true_shift(generator):
    before = np.full(10, 0.1)
    after = np.array([0.3, *[0.7 / 9] * 9])
    true = float((rel_entr(after, before) + rel_entr(before, after)).sum())
    covered = 0
    for ours, theirs in zip(draws(60, 800, after, generator), draws(60, 3000, before, generator), strict=True):
        low, high = two_samples.compare_labels(ours, theirs).interval
        covered += low <= true <= high
    assert covered >= 52  # of 60 at 95 %: 57 on average, fewer than 52 once in a hundred times


@pytest.mark.parametrize(
    "shares", [np.full(LABELS, 1 / LABELS), np.arange(1, LABELS + 1) ** -1.5], ids=["even", "rare"]
)
def test_the_chi_square_test_keeps_its_level_with_many_rare_labels(generator, shares):
    shares = shares / shares.sum()
    pairs = zip(draws(800, 300, shares, generator), draws(800, 3000, shares, generator), strict=True)
    p_values = np.array([two_samples.chi_square(*pair) for pair in pairs])
    assert (p_values <= 0.05).mean() <= 0.07
    assert (p_values <= 0.001).mean() <= 0.005


def test_one_label_that_all_have_is_no_difference():
    assert two_samples.chi_square(np.array([80.0]), np.array([900.0])) == 1.0
    assert two_samples.compare_shares(np.array([100.0, 0.0]), np.array([0.0, 300.0])).effect == 1.0


def test_a_label_that_is_new_is_seen():
    found = two_samples.compare_labels(np.array([500.0, 0, 60]), np.array([1500.0, 1500, 0]))
    assert found.p_value < 1e-12
    assert found.effect > 1


def test_the_rate_test_is_that_of_the_lady_tasting_tea():
    """Fisher 1935: three of four cups rightly called; 17/70."""
    found = two_samples.compare_rates((3, 4), (1, 4))
    assert found.p_value == pytest.approx(17 / 70)
    assert found.effect == 0.5


def test_slower_is_an_alarm_and_faster_is_none(generator):
    before = generator.lognormal(1, 0.3, 500)
    slower = two_samples.compare_medians(1.6 * generator.lognormal(1, 0.3, 300), before)
    assert slower.effect == pytest.approx(0.6, abs=0.15)
    assert slower.p_value < 1e-6
    assert two_samples.compare_medians(0.5 * before, before).p_value > 0.99
    assert two_samples.compare_means(np.zeros(50), np.zeros(80)) == two_samples.Difference(1.0, 0.0)


def test_the_classifier_test_keeps_its_level(generator):
    found = [
        two_samples.tell_apart(generator.normal(size=(200, 16)), generator.normal(size=(600, 16)), seed)
        for seed in range(120)
    ]
    assert np.mean([each.p_value <= 0.05 for each in found]) <= 0.1
    assert np.mean([each.effect for each in found]) < 0.06


def test_the_classifier_finds_what_can_be_told(generator):
    """Two normal populations, one unit apart in one of four directions: none ranks better than Phi(1/sqrt 2)."""
    theirs = generator.normal(size=(4000, 4))
    ours = generator.normal(size=(2000, 4)) + np.array([1, 0, 0, 0])
    found = two_samples.tell_apart(ours, theirs)
    assert found.effect == pytest.approx(2 * norm.cdf(1 / np.sqrt(2)) - 1, abs=0.04)
    assert found.p_value < 1e-20
    wider = two_samples.tell_apart(2 * generator.normal(size=(800, 4)), theirs)  # the same mean, another spread
    assert wider.effect > 0.5


def test_wilsons_interval_is_the_published_one():
    """Newcombe 1998, table I, method 3: 81 of 263, and none of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_evidence_is_the_integral_that_its_docstring_names():
    for right, wrong, bound in ((3, 2, 0.8), (40, 20, 0.9), (7, 0, 0.6)):
        whole, _ = quad(lambda q, r=right, w=wrong: q**r * (1 - q) ** w, 0, bound)
        expected = log(whole / bound) - right * log(bound) - wrong * log(1 - bound)
        assert log_evidence(np.array([float(right)]), np.array([float(wrong)]), bound)[0] == pytest.approx(expected)


def judgements(right: np.ndarray, begin: int = 0) -> list[Judgement]:
    return [Judgement(f"{begin + number:06}", bool(each)) for number, each in enumerate(right)]


@pytest.mark.parametrize("accuracy", [0.85, 0.9])
def test_looking_often_raises_no_more_false_alarms_than_stated(generator, accuracy):
    """At and above the bound, in 300 versions with 20 looks each: a test that is repeated without care reaches 30 %."""
    alarms = 0
    for answers in generator.random((300, 600)) < accuracy:
        evidence, smallest = Evidence(bound=0.85), 1.0
        for begin in range(0, 600, 30):
            evidence = add_judgements(evidence, judgements(answers[begin : begin + 30], begin))
            smallest = min(smallest, evidence.p_value)
        alarms += smallest <= 0.05
    assert alarms / 300 <= 0.05


def test_a_drop_of_the_accuracy_is_seen_in_a_few_hundred_answers(generator):
    answers = judgements(generator.random(600) < 0.7)
    evidence = add_judgements(Evidence(bound=0.85), answers)
    assert evidence.p_value < 1e-6
    assert evidence.rows == 600
    in_parts = add_judgements(add_judgements(Evidence(bound=0.85), answers[:270]), answers[270:])
    assert in_parts == evidence


def test_thousands_of_good_answers_do_not_hide_a_late_drop(generator):
    """Against all answers since the beginning, this took 2,400 bad ones."""
    needed = []
    for _ in range(20):
        evidence = add_judgements(Evidence(bound=0.865), judgements(generator.random(3000) < 0.915))
        assert evidence.p_value > 0.001
        while evidence.p_value > 0.001:
            evidence = add_judgements(evidence, judgements(generator.random(25) < 0.75, evidence.rows))
        needed.append(evidence.rows - 3000)
        assert abs(evidence.strongest.right + evidence.strongest.wrong - 3000) <= 400
    assert np.median(needed) <= 450, needed
    assert max(needed) <= 900, needed


def test_the_weights_of_all_starts_add_up_to_one():
    """Where all e-values are 1, as against a bound that every answer must be below, so is the mixture."""
    from components.monitoring.accuracy import EACH, Start

    same = tuple(Start("", 7, 2) for _ in range(40))
    assert Evidence(7, 2, "", same).p_value == pytest.approx(1)
    assert len(add_judgements(Evidence(), judgements(np.ones(5 * EACH))).starts) == 6


def test_evidence_that_was_gathered_otherwise_does_not_count():
    """Corrections are mostly of wrong answers: taken for a sample, they would be an alarm at once."""
    corrected = add_judgements(Evidence().under("corrections", 0.85), judgements(np.zeros(300)))
    sampled = corrected.under("sample", 0.85)
    assert (sampled.rows, sampled.until, sampled.p_value) == (0, corrected.until, 1.0)
    assert sampled.under("sample", 0.85) is sampled
    assert sampled.under("sample", 0.9).bound == 0.9
