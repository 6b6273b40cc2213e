"""The labelling queue: of a pool the rows whose labels would teach most, with the model's proposal and the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import ConfigError
from components.labelling.pool import KnownTexts, Pool
from components.labelling.usefulness import Chosen, Numbers, choose, entropy, novelty, share_of_uncertain
from components.models.embeddings import embed_texts
from components.models.inference import Predictor
from components.task_types import Answer, TaskType
from components.validation.checks import has_truth

MOST_COMPARED = 20_000  # training rows that novelty is measured against
UNCERTAIN, NOVEL = 0.5, 0.95  # from which on a row is called so
SEED = 20_261_121


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A row to label: what the model proposes as a data file would say it, how sure it is, and why the row is here.

    `margin` is the distance to another decision, None where the type of model does not say how sure it is; `entropy` is
    a share of the largest possible; `novelty` the share of training rows that are nearer to the others; `distance` the
    cosine distance to the nearest row before it in the queue.
    """

    name: str
    texts: Mapping[str, str]
    answer: Answer
    proposal: str
    confidence: float | None
    margin: float | None
    entropy: float | None
    novelty: float
    distance: float
    reasons: str


def make_queue(model: Path, pool: Pool, known: KnownTexts, rows: int, device: str = "cpu") -> list[QueuedRow]:
    """The most useful rows of a pool, the most useful first.

    Args:
        model: the model directory; its encoder says what is novel and what is alike.
        rows: how many, at most.

    Raises:
        ConfigError: rows of this type of model have no true answers.
        BundleError: the model directory is damaged.
    """
    predictor = Predictor.load(model, device)
    kind = predictor.task_type
    if not has_truth(kind):
        raise ConfigError(f"Rows of {kind.name} have no labels.", "name a model of another type.")
    answers = predictor.predict(list(pool.rows))
    length = predictor.spec.max_length
    vectors = embed_texts(model, [tuple(row.values()) for row in pool.rows], length, device)
    learned = list(known.texts["train"])
    compared = np.random.default_rng(SEED).permutation(len(learned))[:MOST_COMPARED]
    new = novelty(vectors, embed_texts(model, [learned[place] for place in compared], length, device))
    margins = [kind.margin(answer) for answer in answers] if _says_how_sure(kind) else None
    useful = new if margins is None else (share_of_uncertain(margins) + new) / 2
    return [
        _row(predictor, pool, each, answers[each.row], margins[each.row] if margins else None, new)
        for each in choose(vectors, useful, rows)
    ]


def truth_column(kind: TaskType) -> str:
    """The column of a data file that has the true answer, beside texts as they are."""
    for form in kind.forms:
        truth = [column.role for column in form if column.role not in kind.texts and not column.optional]
        if truth and any(column.role in kind.texts for column in form):
            return truth[0]
    raise ConfigError(f"Rows of {kind.name} have no labels.", "name a model of another type.")


def _says_how_sure(kind: TaskType) -> bool:
    return type(kind).margin is not TaskType.margin


def _row(
    predictor: Predictor, pool: Pool, chosen: Chosen, answer: Answer, margin: float | None, new: Numbers
) -> QueuedRow:
    kind, scores = predictor.task_type, predictor.task_type.explained(answer)
    sure = _says_how_sure(kind)
    return QueuedRow(
        name=pool.names[chosen.row],
        texts=pool.rows[chosen.row],
        answer=answer,
        proposal=kind.said(answer),
        confidence=round(kind.confidence(answer), 6) if sure else None,
        margin=None if margin is None else round(min(margin, 1.0), 6),
        entropy=None if not sure or (found := entropy(scores)) is None else round(found, 6),
        novelty=round(float(new[chosen.row]), 4),
        distance=round(chosen.distance, 4),
        reasons=_reasons(scores if sure else {}, margin, float(new[chosen.row]), chosen.distance),
    )


def _reasons(scores: Mapping[str, float], margin: float | None, new: float, distance: float) -> str:
    """Why a row is in the queue, in words."""
    found = []
    if margin is not None and 1 - margin >= UNCERTAIN:
        found.append(f"uncertain: {_between(scores, margin)}")
    if new >= NOVEL:
        found.append(f"novel: farther from the training rows than {new:.0%} of them are from each other")
    if not found:
        sure = "" if margin is None else f"margin {margin:.2f}, "
        found.append(f"diverse: {sure}unlike the rows before it (distance {distance:.2f})")
    return "; ".join(found)


def _between(scores: Mapping[str, float], margin: float) -> str:
    best: Sequence[tuple[str, Any]] = sorted(scores.items(), key=lambda item: -item[1])[:2]
    if len(best) < 2 or abs(sum(scores.values()) - 1) > 1e-3:
        return f"margin {margin:.2f}"
    return " or ".join(f"{label} ({score:.2f})" for label, score in best)
