"""Which evaluation's weights are kept, and when training has waited long enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.training.best_weights import BestWeights


def offered(patience: int | None, *evaluations: tuple[float, float]) -> BestWeights:
    """After evaluations with these scores and losses; the weight is the number of its epoch."""
    network = torch.nn.Linear(1, 1, bias=False)
    best = BestWeights(network, 100, patience)
    for epoch, (score, loss) in enumerate(evaluations, 1):
        torch.nn.init.constant_(network.weight, epoch)
        best.offer(score, loss, epoch)
    return best


@pytest.mark.parametrize(
    ("evaluations", "kept", "waited"),
    [
        ([(0.5, 1.0), (0.6, 2.0), (0.55, 0.1)], 2, 1),
        ([(0.8, 0.6), (0.79, 0.4)], 2, 0),  # a hundred rows cannot tell these scores from each other
        ([(0.8, 0.6), (0.79, 0.4), (0.77, 0.2), (0.755, 0.1)], 3, 1),  # each is compared with the highest
        ([(0.8, 0.3), (0.82, 0.4)], 2, 0),
        ([(0.0, 0.5), (0.0, 0.4), (0.0, 0.3)], 3, 0),  # nothing is found yet, and the loss says that it learns
        ([(0.0, 0.5), (0.0, 0.5), (0.0, 0.6)], 1, 2),
        ([(0.0, 0.5), (0.3, 0.9)], 2, 0),
        ([(0.5, 1.0), (0.5, float("nan"))], 1, 1),
    ],
)
def test_the_best_score_is_kept_and_of_those_that_chance_cannot_tell_apart_the_lower_loss(
    evaluations, kept: int, waited: int
):
    best = offered(2, *evaluations)
    assert (best.epoch, best.waited, best.exhausted) == (kept, waited, waited >= 2)
    best.restore()
    assert best.network.weight.item() == kept


def test_a_checkpoint_remembers_what_is_to_be_beaten(tmp_path: Path):
    best = offered(3, (0.2, 0.5), (0.2, 0.6))
    best.save(tmp_path)
    again = BestWeights(torch.nn.Linear(1, 1, bias=False), 100, 3)
    again.load(tmp_path)
    assert (again.highest, again.loss, again.epoch, again.waited) == (0.2, 0.5, 1, 1)
    again.offer(0.2, 0.55, 3)
    assert again.waited == 2


def test_without_patience_training_never_stops():
    assert not offered(None, *[(0.1, 1.0)] * 9).exhausted
