"""One label for each text, or for each pair of texts: sentiment, intent, topic, entailment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from components.config import Columns, Training
from components.task_types.base import Answer, Features, Row, Scores, TaskType

if TYPE_CHECKING:
    import torch


class TextClassification:
    """Softmax over a linear layer on the pooled [CLS] token, cross-entropy loss."""

    name = "text_classification"

    def columns(self, columns: Columns) -> Mapping[str, str]:
        pair = {"text_pair": columns.text_pair} if columns.text_pair else {}
        return {"text": columns.text, **pair, "label": columns.label}

    def build_network(self, base: Path, labels: Sequence[str]) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            problem_type="single_label_classification",
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )

    def load_network(self, folder: Path) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )

    def encode(self, tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Features]:
        texts = [row["text"] for row in rows]
        # Truly two segments: [CLS] A [SEP] B [SEP] with segment ids, never one joined text.
        pairs = [row["text_pair"] for row in rows] if rows and "text_pair" in rows[0] else None
        encoded = tokenizer(texts, pairs, truncation="longest_first", max_length=max_length)
        return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> list[int]:
        index = {label: position for position, label in enumerate(labels)}
        return [index[row["label"]] for row in rows]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits.float(), targets, weight=weights, label_smoothing=training.label_smoothing)

    def probabilities(self, logits: NDArray[np.float32], temperature: float) -> Scores:
        probabilities: Scores = softmax(logits.astype(np.float64) / temperature, axis=-1)
        return probabilities

    def log_loss(self, logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float) -> float:
        """Mean negative log-likelihood of the targets: what the temperature is fitted on."""
        logs = log_softmax(logits.astype(np.float64) / temperature, axis=-1)
        return float(-logs[np.arange(len(targets)), targets].mean())

    def answers(self, scores: Scores, labels: Sequence[str]) -> list[Answer]:
        best = scores.argmax(axis=-1)
        return [
            Answer(labels[index], float(row[index]), tuple(map(float, row)))
            for row, index in zip(scores, best, strict=True)
        ]

    def metrics(self, truth: Sequence[str], scores: Scores, labels: Sequence[str]) -> dict[str, float]:
        from components.classification_metrics import classification_metrics

        return classification_metrics(truth, scores, labels)


TASK_TYPE: TaskType = TextClassification()
