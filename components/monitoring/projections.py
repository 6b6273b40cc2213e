"""Random projections: a few numbers that stand for a text, so that two sets of texts can be compared without any text.

Two halves of `DIMENSIONS` numbers each. The first is the mean of a fixed random direction for each token, which any
engine allows, since it needs the tokens only. The second is a projection of the answer's logits: of the last hidden
state as the model's own head sees it. The hidden state itself is not had: built engines give nothing but the logits.

NumPy keeps the stream of `RandomState` the same in all versions, which `default_rng` is not promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 8
SEED = 20_261_121
SMALLEST = 1e-6  # a score below is as good as none: engines differ there
DIGITS = 3


def token_directions(vocabulary: int) -> NDArray[np.float32]:
    """A direction for each token: (tokens, DIMENSIONS)."""
    drawn = np.random.RandomState(SEED).standard_normal((vocabulary, DIMENSIONS))
    found: NDArray[np.float32] = drawn.astype(np.float32)
    return found


@cache
def score_directions(scores: int) -> NDArray[np.float32]:
    """A direction for each score, together of length one in the mean: (scores, DIMENSIONS)."""
    drawn = np.random.RandomState(SEED + 1).standard_normal((scores, DIMENSIONS)) / np.sqrt(max(scores, 1))
    found: NDArray[np.float32] = drawn.astype(np.float32)
    return found


def project_tokens(tokens: Sequence[int], directions: NDArray[np.float32]) -> list[float]:
    """The mean direction of a text's tokens, scaled so that its length does not hang on theirs."""
    if not tokens:
        return [0.0] * DIMENSIONS
    places = np.minimum(np.asarray(tokens), len(directions) - 1)
    return _rounded(directions[places].mean(axis=0) * np.sqrt(len(tokens)))


def project_scores(scores: Sequence[float], directions: NDArray[np.float32]) -> list[float]:
    """The projection of the logits behind probabilities, which they are but for a constant."""
    logits = np.log(np.maximum(np.asarray(scores, np.float64), SMALLEST))
    return _rounded((logits - logits.mean()) @ directions)


def _rounded(values: NDArray[np.floating]) -> list[float]:
    return [round(float(value), DIGITS) for value in values]
