"""From the scores of every unit to tags with probabilities, and to entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.entities.crf_decoding import best_tags, log_likelihood, tag_probabilities
from components.entities.tags import Offsets, TagNumbers, runs_of_tags
from components.entities.unit_emissions import Emissions
from components.models.calibration import softmax
from components.task_types.base import Numbers


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags of one text: how probable each is, and the likeliest other one."""

    tags: TagNumbers
    chosen: Numbers
    other: Numbers


def decode(emissions: Sequence[Emissions], temperature: float) -> list[Tagged]:
    """The tags of each text: the likeliest of each unit, or with a CRF the likeliest sequence.

    Args:
        temperature: divides all scores, those of a CRF's moves as well; it changes probabilities and no tag.
    """
    if not emissions:
        return []
    if emissions[0].moves is None:
        probabilities = [softmax(own.scores.astype(np.float64) / temperature) for own in emissions]
        tags = [own.argmax(axis=1) for own in probabilities]
    else:
        scores, moves = _heated(emissions, temperature)
        probabilities = tag_probabilities(scores, moves)
        tags = best_tags(scores, moves)
    return [_tagged(*pair) for pair in zip(tags, probabilities, strict=True)]


def _tagged(tags: TagNumbers, probabilities: Numbers) -> Tagged:
    units = np.arange(len(tags))
    others = probabilities.copy()
    others[units, tags] = -1.0
    return Tagged(tags, probabilities[units, tags], others.max(axis=1, initial=0.0))


def mean_log_loss(emissions: Sequence[Emissions], tags: Sequence[TagNumbers], temperature: float) -> float:
    """Mean negative log-likelihood of the true tags, a unit."""
    units = max(1, sum(map(len, tags)))
    if emissions[0].moves is not None:
        scores, moves = _heated(emissions, temperature)
        return -log_likelihood(scores, tags, moves) / units
    together = np.concatenate([own.scores for own in emissions])
    chosen = softmax(together.astype(np.float64) / temperature)[np.arange(len(together)), np.concatenate(tags)]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).sum() / units)


def _heated(emissions: Sequence[Emissions], temperature: float) -> tuple[list[Numbers], Numbers]:
    moves = np.asarray(emissions[0].moves, np.float64) / temperature
    return [own.scores.astype(np.float64) / temperature for own in emissions], moves


def entities_of(text: str, offsets: Offsets, tagged: Tagged, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The entities of one text in order, scored by the mean probability of their units' tags."""
    found = []
    for first, end, label in runs_of_tags(tagged.tags):
        start, stop = int(offsets[first, 0]), int(offsets[end - 1, 1])
        score = float(tagged.chosen[first:end].mean())
        found.append({"start": start, "end": stop, "text": text[start:stop], "label": labels[label], "score": score})
    return found
