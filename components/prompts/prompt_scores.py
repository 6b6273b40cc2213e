"""From what the network gave for texts and prompts to evidence for each label, and from that to scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.prompts.label_prompts import Question, numbered_prompts
from components.task_types.base import Numbers, Windows

# Cosines between -1 and 1 as logits; encoders of sentences are trained with this factor (sentence-transformers).
COSINE_SCALE = 20.0
SMALLEST_SLOPE = 1e-3  # of the line through the evidence: in both modes, labels have the same order

Vectors = Sequence[NDArray[np.float32]]


def entailment_evidence(questions: Sequence[Question], windows: Windows, outputs: Vectors) -> list[Numbers]:
    """Logits of entailment and contradiction, (labels, 2) a row: the mean over its text's windows, by tokens."""
    starts = np.cumsum([0, *(len(question.labels) for question in questions)], dtype=np.int64)
    labels = np.array([window["prompt"][0] - 1 for window in windows.features], np.int64)
    places = starts[np.array(windows.rows, np.int64)] + labels
    sums, tokens = np.zeros((starts[-1], 2)), _tokens(windows)
    np.add.at(sums, places, np.stack(outputs) * tokens[:, None])
    means = sums / np.bincount(places, tokens, minlength=starts[-1])[:, None]
    return np.split(means, starts[1:-1])


def cosine_evidence(questions: Sequence[Question], windows: Windows, outputs: Vectors) -> list[Numbers]:
    """The scaled cosine of each row's text, the mean of its windows by tokens, with its prompts: (labels,) a row."""
    vectors = _normed(np.stack(outputs).astype(np.float64))
    numbers = np.array([window["prompt"][0] for window in windows.features])
    texts = np.zeros((len(questions), vectors.shape[1]))
    is_text = numbers == 0
    np.add.at(texts, np.asarray(windows.rows)[is_text], (vectors * _tokens(windows)[:, None])[is_text])
    prompts = np.zeros((numbers.max(), vectors.shape[1]))
    prompts[numbers[~is_text] - 1] = vectors[~is_text]
    known = numbered_prompts(questions)
    return [
        COSINE_SCALE * prompts[[known[prompt] for prompt in question.prompts]] @ text
        for question, text in zip(questions, _normed(texts), strict=True)
    ]


def _tokens(windows: Windows) -> Numbers:
    """The length of each window: the rest of a text, in a window of its own, says less of it than a whole one."""
    return np.array([len(window["input_ids"]) for window in windows.features], np.float64)


def _normed(vectors: Numbers) -> Numbers:
    normed: Numbers = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return normed


def exclusive_scores(evidence: Numbers, temperature: float) -> Numbers:
    """Probabilities of labels of which one is true: softmax over their logits, of entailment where there is one."""
    from components.models.calibration import softmax

    logits = evidence[:, 0] if evidence.ndim == 2 else evidence
    scores: Numbers = softmax(logits / temperature)
    return scores


def independent_scores(evidence: Numbers, slope: float, offset: float) -> Numbers:
    """Probabilities of labels that are judged one by one, by the fitted line through their logits."""
    from scipy.special import expit

    scores: Numbers = expit(slope * independent_logits(evidence) + offset)
    return scores


def independent_logits(evidence: Numbers) -> Numbers:
    """Evidence for each label of a row by itself, (labels,): entailment less contradiction, or the scaled cosine."""
    logits: Numbers = evidence[:, 0] - evidence[:, 1] if evidence.ndim == 2 else evidence
    return logits


def fit_logistic(evidence: Numbers, truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that turn evidence into honest probabilities.

    Source: Platt, Probabilistic outputs for support vector machines, 1999. More evidence never makes a label less
    likely, also where that would fit better: the probabilities of useless evidence are all near the share of truth.

    Args:
        evidence: (rows, labels).
        truth: (rows, labels), whether that label is right.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    middle = float(evidence.mean())  # centred, or slope and offset pull at each other

    def loss(values: Numbers) -> tuple[float, Numbers]:
        logits = values[0] * (evidence - middle) + values[1]
        error = expit(logits) - truth
        return float((np.logaddexp(0, logits) - truth * logits).mean()), np.array(
            [(error * (evidence - middle)).mean(), error.mean()]
        )

    bounds = ((SMALLEST_SLOPE, None), (None, None))
    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return round(float(slope), 6), round(float(offset - slope * middle), 6)
