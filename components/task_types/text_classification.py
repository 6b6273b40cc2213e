"""One label for each text, or for each pair of texts: sentiment, intent, topic, entailment.

Of a text in several windows the mean of their logits, weighted by their tokens, decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.config import Training
from components.sequences.one_label import OneLabel
from components.sequences.pooling import PooledSettings, settle_pooling
from components.task_types.base import Answer, Column, Outputs, Row, Spec, TaskType, Windows
from components.task_types.looks import LABEL_NAMES, PAIR, TEXT, Sought

if TYPE_CHECKING:
    import torch


class TextClassification(OneLabel):
    """Softmax over a linear layer on the pooled tokens, cross-entropy loss."""

    name = "text_classification"
    purpose = "Gives each text, or each pair of texts, one label, with a score for each label."
    limits = "It knows the labels below and no others: a text about something else gets one of them, often surely."
    hub_task = "text-classification"
    forms = ((Column("text"), Column("text_pair", optional=True), Column("label", "word")),)
    sought = ((Sought("label", LABEL_NAMES, None, "label"), TEXT, PAIR),)
    texts = ("text", "text_pair")
    untrained = "zero_shot"
    settings = PooledSettings
    windows_share_target = True
    balances = True

    def settle(self, settings: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
        return settle_pooling(settings, base)

    def build_network(self, base: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import build_sequence_network

        return build_sequence_network(
            base, spec.labels, "single_label_classification", spec.settings.get("pooling", "cls")
        )

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import load_sequence_network

        return load_sequence_network(folder)

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.sequences.text_windows import window_texts

        return window_texts(tokenizer, rows, spec)

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        index = {label: position for position, label in enumerate(spec.labels)}
        return [[index[rows[row]["label"]]] for row in windows.rows]

    def weights(self, targets: NDArray[Any], spec: Spec) -> NDArray[np.float32] | None:
        """The inverse of each label's frequency, with a mean of one over the rows."""
        counts = np.bincount(targets.astype(np.int64), minlength=len(spec.labels))
        return (len(targets) / (len(spec.labels) * np.maximum(counts, 1))).astype(np.float32)

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.float(), targets, weight=weights, label_smoothing=training.label_smoothing)

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """Logits (rows, labels)."""
        from components.sequences.text_windows import mean_of_windows

        return mean_of_windows(windows, outputs, len(rows))

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        from components.models.calibration import fit_temperature, log_softmax

        logits = np.asarray(outputs, np.float64)  # (rows, labels)
        index = {label: position for position, label in enumerate(spec.labels)}
        targets = np.array([index[row["label"]] for row in rows])
        places = np.arange(len(rows))
        return {"temperature": fit_temperature(lambda t: -log_softmax(logits / t)[places, targets].mean())}

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from components.models.calibration import softmax

        scores = softmax(np.asarray(outputs, np.float64) / spec.fitted.get("temperature", 1.0))
        best = scores.argmax(axis=-1)
        return [
            {"label": spec.labels[index], "score": row[index], "labels": spec.labels, "scores": row}
            for row, index in zip(scores.tolist(), best.tolist(), strict=True)
        ]


TASK_TYPE: TaskType = TextClassification()
