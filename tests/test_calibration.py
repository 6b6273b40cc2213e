from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from components.models.calibration import HIGHEST, LOWEST, fit_temperature
from components.task_types import Spec, find_task_type


def log_loss(logits, targets, temperature: float) -> float:
    return float(-log_softmax(logits / temperature, axis=-1)[np.arange(len(targets)), targets].mean())


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
    found = fit_temperature(lambda value: log_loss(logits, targets, value))
    assert found == pytest.approx(temperature, rel=0.08)


def test_it_never_makes_the_log_loss_worse():
    logits, targets = overconfident(2.0)
    found = fit_temperature(lambda value: log_loss(logits, targets, value))
    assert log_loss(logits, targets, found) < log_loss(logits, targets, 1.0)


def test_logits_without_information_stay_within_the_limits():
    logits = np.array([[9.0, 0.0], [9.0, 0.0]], np.float32)
    for targets in ([0, 0], [1, 1]):
        right = np.array(targets, np.int64)
        found = fit_temperature(lambda value, right=right: log_loss(logits, right, value))
        assert LOWEST <= found <= HIGHEST


def test_the_type_fits_the_temperature_on_its_validation_rows():
    logits, targets = overconfident(2.0)
    rows = [{"label": "abcd"[target]} for target in targets]
    fitted = find_task_type("text_classification").fit(rows, logits, Spec(tuple("abcd"), 64, 16))
    assert fitted["temperature"] == pytest.approx(2.0, rel=0.08)
