from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from components.models.calibration import HIGHEST, LOWEST, fit_temperature, log_softmax, softmax
from components.task_types import Spec, find_task_type


def log_loss(logits, targets, temperature: float) -> float:
    return float(-log_softmax(logits / temperature)[np.arange(len(targets)), targets].mean())


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


WITHOUT_SCIPY = """
import sys
sys.modules["scipy"] = None
import numpy as np
from components.task_types import Spec, find_task_type
kind, rows = find_task_type("text_classification"), [{"label": "a"}, {"label": "b"}]
spec = Spec(("a", "b"), 64, 16)
logits = np.array([[2.0, 1.0], [1.5, 1.0]], np.float32)
kind.fit(rows, logits, spec)
print(kind.metrics(["a", "b"], kind.answers(rows, logits, spec), spec)["accuracy"])
"""


def test_a_machine_without_scipy_can_train():
    """benchmarks/finetune_gpu.py runs where torch, transformers and datasets are and nothing else."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_SCIPY], capture_output=True, text=True, check=True)
    assert done.stdout == "0.5\n"


@given(arrays(np.float64, (3, 5), elements=st.floats(-800, 800)))
def test_softmax_is_scipys(logits):
    np.testing.assert_allclose(softmax(logits), special.softmax(logits, axis=-1), atol=1e-12)
    np.testing.assert_allclose(log_softmax(logits), special.log_softmax(logits, axis=-1), atol=1e-9)
