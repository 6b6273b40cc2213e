"""What is measured of one answered text: the same for the endpoint's log and for the reference of the training.

Nothing here can be read back as a text; who has the model can test whether a text that they think of was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any, Protocol

from components.monitoring.projections import (
    project_scores,
    project_tokens,
    score_directions,
    token_directions,
)
from components.reports.slices import script_of
from components.task_types import Answer, Row, Spec, TaskType, Windows

OTHER = "other"  # a label that a request named by itself
NONE = "none"  # no label applies
DIGITS = 4


class Asked(Protocol):
    """The part of a predictor that measuring needs."""

    tokenizer: Any
    task_type: TaskType
    spec: Spec


class Meter:
    """Measures the answers of one model; it keeps nothing of the model but names and directions.

    Args:
        predictor: the model that answers.
        project: whether projections are made.
    """

    def __init__(self, predictor: Asked, *, project: bool = True) -> None:
        self.kind = predictor.task_type
        self.labels = frozenset(predictor.spec.labels)
        self.unknown = predictor.tokenizer.unk_token_id
        self.directions = token_directions(len(predictor.tokenizer)) if project else None

    def measure(self, rows: Sequence[Row], windows: Windows, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """What is measured of each row, as the log keeps it; a key is left out where it has no meaning."""
        tokens: list[list[int]] = [[] for _ in rows]
        for place, features in zip(windows.rows, windows.features, strict=True):
            tokens[place] += features["input_ids"]
        return [self._of_row(*each) for each in zip(rows, tokens, answers, strict=True)]

    def _of_row(self, row: Row, tokens: Sequence[int], answer: Answer) -> dict[str, Any]:
        texts = [row[name] for name in self.kind.texts if name in row]
        scores = answer.get("scores")
        unknown = sum(token == self.unknown for token in tokens) if self.unknown is not None else 0
        found = {
            "characters": sum(map(len, texts)),
            "script": script_of(" ".join(texts)),
            "tokens": len(tokens),
            "unknown": round(unknown / max(len(tokens), 1), DIGITS),
            "confidence": round(self.kind.confidence(answer), DIGITS),
            **self._decision(answer),
        }
        if scores:
            found["entropy"] = round(entropy(scores), DIGITS)
        if self.directions is not None:
            found["projection"] = project_tokens(tokens, self.directions)
            if scores and len(scores) == len(self.labels):  # not of labels that a request names by itself
                found["projection"] += project_scores(scores, score_directions(len(scores)))
        return found

    def _decision(self, answer: Answer) -> Mapping[str, Any]:
        if self.kind.has_labels:
            return {"label": label_of(self.kind.words(self.kind.said(answer)), self.labels)}
        value = answer.get("value")
        return {"value": round(float(value), DIGITS)} if isinstance(value, float | int) else {}


def label_of(words: Sequence[str], known: frozenset[str]) -> str:
    """The labels of a row as one word, so that each row counts once: "card", "joy + love", "none"."""
    named = sorted({word if word in known else OTHER for word in words})
    return " + ".join(named) or NONE


def entropy(scores: Sequence[float]) -> float:
    """Shannon entropy of probabilities as a share of the largest possible, 0 to 1; of independent ones their mean."""
    if abs(sum(scores) - 1) < 1e-3:
        return -sum(score * log2(score) for score in scores if score > 0) / max(log2(len(scores)), 1.0)
    either = [(score, 1 - score) for score in scores]
    return sum(-sum(part * log2(part) for part in pair if part > 0) for pair in either) / len(scores)
