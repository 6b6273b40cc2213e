"""From logits to honest scores: softmax, and the temperature that is fitted on the validation rows.

SciPy has all three. They are here so that fine-tuning needs torch and transformers alone: a GPU machine often has these
and no way to install more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A temperature beyond these means that the validation rows carry no information about calibration.
LOWEST, HIGHEST = 0.05, 20.0
GOLDEN = (5**0.5 - 1) / 2
PRECISE = 1e-4  # of the temperature's logarithm


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities over the last axis, in the logits' own precision."""
    scores: NDArray[Any] = np.exp(log_softmax(logits))
    return scores


def log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Logarithms of the probabilities over the last axis, in the logits' own precision."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    scores: NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return scores


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature that minimises `loss(temperature)`, the log loss on the validation rows.

    The loss is convex in the temperature's inverse, so it has one valley, which golden-section search closes in on.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    low, high = float(np.log(LOWEST)), float(np.log(HIGHEST))
    while high - low > PRECISE:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(float(np.exp(left))) < loss(float(np.exp(right))):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), 4)
