"""Temperature scaling: one number, fitted on the validation rows, that makes the scores honest."""

from __future__ import annotations

from collections.abc import Callable

# A temperature beyond these means that the validation rows carry no information about calibration.
LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature that minimises `loss(temperature)`, the log loss on the validation rows.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    from numpy import exp, log
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(lambda scale: loss(float(exp(scale))), bounds=(log(LOWEST), log(HIGHEST)), method="bounded")
    return round(float(exp(best.x)), 4)
