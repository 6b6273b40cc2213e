from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.entities.crf_decoding import best_tags, log_likelihood, tag_probabilities
from components.entities.tags import first_orphan, tag_names

LABELS = ("LOC", "PER")


def brute_force(scores: np.ndarray, moves: np.ndarray) -> dict[tuple[int, ...], float]:
    """The score of every sequence."""
    units, tags = scores.shape
    return {
        way: scores[np.arange(units), list(way)].sum()
        + sum(moves[a, b] for a, b in itertools.pairwise(way))
        + moves[-2, way[0]]
        + moves[-1, way[-1]]
        for way in itertools.product(range(tags), repeat=units)
    }


def random_crf(draw: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    from components.entities.crf import barred_moves

    moves = draw.normal(size=(7, 5)) + barred_moves(2).numpy().astype(np.float64)
    return [draw.normal(scale=2, size=(length, 5)).astype(np.float32) for length in draw.integers(1, 5, size=4)], moves


@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_decoding_is_that_of_brute_force(seed: int):
    texts, moves = random_crf(np.random.default_rng(seed))
    for scores, tags, probabilities in zip(
        texts, best_tags(texts, moves), tag_probabilities(texts, moves), strict=True
    ):
        ways = brute_force(scores.astype(np.float64), moves)
        assert tuple(tags.tolist()) == max(ways, key=ways.__getitem__)
        weights = np.exp(np.array(list(ways.values())) - max(ways.values()))
        for unit in range(len(scores)):
            own = np.bincount([way[unit] for way in ways], weights=weights, minlength=5) / weights.sum()
            assert probabilities[unit] == pytest.approx(own, abs=1e-9)
        likelihood = ways[tuple(tags.tolist())] - np.logaddexp.reduce(list(ways.values()))
        assert log_likelihood([scores], [tags], moves) == pytest.approx(likelihood)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_brute_force(seed: int):
    import torch

    from components.entities.crf import mean_loss

    draw = np.random.default_rng(seed)
    texts, moves = random_crf(draw)
    tags = [np.array(max(brute_force(own, moves), key=brute_force(own, moves).__getitem__)) for own in texts]
    longest = max(map(len, texts))
    scores, targets = torch.zeros(5, longest, 5), torch.full((5, longest), -100)  # the last window has no unit
    expected = 0.0
    begins, ends = torch.tensor([True, False, True, False, True]), torch.tensor([True, False, False, True, True])
    for line, (own, true) in enumerate(zip(texts, tags, strict=True)):
        scores[line, : len(own)], targets[line, : len(own)] = torch.from_numpy(own), torch.from_numpy(true)
        borders = moves.copy()
        borders[-2] *= bool(begins[line])
        borders[-1] *= bool(ends[line])
        ways = brute_force(own.astype(np.float64), borders)
        expected -= ways[tuple(true.tolist())] - np.logaddexp.reduce(list(ways.values()))
    loss = mean_loss(torch.from_numpy(moves).float(), scores, targets, begins, ends)
    assert float(loss) == pytest.approx(expected / sum(map(len, texts)), rel=1e-4)


def test_best_tags_make_only_legal_moves():
    from components.entities.crf import barred_moves

    draw = np.random.default_rng(0)
    moves = barred_moves(2).numpy().astype(np.float64)
    names = tag_names(LABELS)
    for tags in best_tags([draw.normal(scale=5, size=(30, 5)) for _ in range(20)], moves):
        named = [names[tag] for tag in tags]
        assert first_orphan(named) is None
