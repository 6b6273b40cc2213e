from __future__ import annotations

import numpy as np
import pytest

from components.calibration import HIGHEST, LOWEST, fit_temperature
from components.task_types import find_task_type

TASK_TYPE = find_task_type("text_classification")


def overconfident(temperature: float, rows: int = 4000):
    """Logits whose softmax at this temperature is the true distribution of the targets."""
    draw = np.random.default_rng(0)
    honest = draw.normal(size=(rows, 4)) * 1.5
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    targets = np.array([draw.choice(4, p=chance) for chance in chances], np.int64)
    return (honest * temperature).astype(np.float32), targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float):
    logits, targets = overconfident(temperature)
    found = fit_temperature(lambda value: TASK_TYPE.log_loss(logits, targets, value))
    assert found == pytest.approx(temperature, rel=0.08)


def test_it_never_makes_the_log_loss_worse():
    logits, targets = overconfident(2.0)
    found = fit_temperature(lambda value: TASK_TYPE.log_loss(logits, targets, value))
    assert TASK_TYPE.log_loss(logits, targets, found) < TASK_TYPE.log_loss(logits, targets, 1.0)


def test_logits_without_information_stay_within_the_limits():
    logits = np.array([[9.0, 0.0], [9.0, 0.0]], np.float32)
    for targets in ([0, 0], [1, 1]):
        right = np.array(targets, np.int64)
        found = fit_temperature(lambda value, right=right: TASK_TYPE.log_loss(logits, right, value))
        assert LOWEST <= found <= HIGHEST


def test_the_log_loss_is_scikit_learns():
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    logits, targets = overconfident(1.0, rows=50)
    assert TASK_TYPE.log_loss(logits, targets, 2.0) == pytest.approx(log_loss(targets, softmax(logits / 2.0, axis=1)))
