"""Strict entity scores: an entity is right where its start, its end and its label are.

The same as seqeval's strict mode. Nothing to find and nothing found scores 0, as there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.entities.tags import Span, spans_of_label
from components.task_types.base import Numbers, Statistic


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Entities that are right, that were said and that there are: each (rows, labels), or sums of them."""

    labels: tuple[str, ...]
    right: Numbers
    said: Numbers
    true: Numbers

    def weighted(self, weights: Numbers) -> EntityCounts:
        """The same for resampled rows: (resamplings, labels)."""
        return EntityCounts(self.labels, weights @ self.right, weights @ self.said, weights @ self.true)

    def over_labels(self) -> EntityCounts:
        """Sums over the labels, which are micro averages' counts: (rows, 1)."""
        sums = (part.sum(axis=1, keepdims=True) for part in (self.right, self.said, self.true))
        return EntityCounts(("all",), *sums)

    def precision(self) -> Numbers:
        """Share of what was said that is right; 0 where nothing was said."""
        return _ratio(self.right, self.said)

    def recall(self) -> Numbers:
        """Share of what there is that was said; 0 where there is nothing."""
        return _ratio(self.right, self.true)

    def f1(self) -> Numbers:
        """Harmonic mean of the two."""
        return _ratio(2 * self.right, self.said + self.true)


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def count_entities(truths: Sequence[str], said: Sequence[str]) -> EntityCounts:
    """The counts of each row, from true and said labels."""
    true_spans, said_spans = ([spans_of_label(label) for label in column] for column in (truths, said))
    right = [list((Counter(a) & Counter(b)).elements()) for a, b in zip(true_spans, said_spans, strict=True)]
    labels = tuple(sorted({label for spans in (*true_spans, *said_spans) for _, _, label in spans}))
    tables = (_table(rows, labels) for rows in (right, said_spans, true_spans))
    return EntityCounts(labels, *tables)


def _table(rows: Sequence[Sequence[Span]], labels: Sequence[str]) -> Numbers:
    column = {label: place for place, label in enumerate(labels)}
    table = np.zeros((len(rows), len(labels)))
    for row, spans in enumerate(rows):
        for _, _, label in spans:
            table[row, column[label]] += 1
    return table


def entity_metrics(truths: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """Micro F1, precision and recall, and macro F1 over the labels that occur."""
    once = np.ones((1, len(truths)))
    counts = count_entities(truths, said)
    return {name: float(_value(name, counts.weighted(once))[0]) for name in METRICS}


METRICS = ("f1", "precision", "recall", "macro_f1")


def _value(metric: str, counts: EntityCounts) -> Numbers:
    if metric == "macro_f1":
        occurring = (counts.said + counts.true > 0).sum(axis=1)
        return _ratio(counts.f1().sum(axis=1), occurring.astype(np.float64))
    total = counts.over_labels()
    values = {"f1": total.f1, "precision": total.precision, "recall": total.recall}[metric]()
    return values[:, 0]


def entity_statistic(metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
    """One of `METRICS` as a function of how often each row is drawn."""
    counts = count_entities(truths, said)
    counts = counts if metric == "macro_f1" else counts.over_labels()

    def statistic(weights: Numbers) -> Numbers:
        return _value(metric, counts.weighted(weights))

    return statistic


def row_f1(truths: Sequence[str], said: Sequence[str]) -> Numbers:
    """F1 of each row by itself; 1 where there is nothing to find and nothing was found."""
    counts = count_entities(truths, said).over_labels()
    nothing = (counts.said + counts.true)[:, 0] == 0
    return np.where(nothing, 1.0, counts.f1()[:, 0])


def per_label(truths: Sequence[str], said: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each label."""
    total = count_entities(truths, said).weighted(np.ones((1, len(truths))))
    columns = (total.precision()[0], total.recall()[0], total.f1()[0], total.true[0])
    return [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(support)}
        for label, p, r, f, support in zip(total.labels, *columns, strict=True)
    ]
