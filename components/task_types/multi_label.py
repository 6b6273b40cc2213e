"""Any number of labels for each text, or for each pair of texts: emotions, tags, topics. No label is an answer too.

Each label is decided for itself: its calibrated probability against a threshold of its own, fitted on the validation
rows. Of a text in several windows the mean of their logits, weighted by their tokens, decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from components.config import Training
from components.sequences.pooling import PooledSettings, settle_pooling
from components.task_types.base import (
    Answer,
    Column,
    Fault,
    Numbers,
    Outputs,
    Row,
    Spec,
    Statistic,
    TaskType,
    Windows,
    json_text,
)
from components.task_types.looks import LABEL_NAMES, PAIR, TEXT, Look, Sought

if TYPE_CHECKING:
    import torch

BROKEN = "broken_labels"
RAREST = 1e-4  # a share below starts as this one
HIGHEST_WEIGHT = 10.0  # of a label's positives: of the rarest labels more would drown the others


NAMES = ("labels", "tags", "categories", "topics", "emotions", "intents", *LABEL_NAMES)
SEVERAL: tuple[Look, ...] = ("texts", "cells")


class MultiLabel(TaskType):
    """Sigmoids over a linear layer on the pooled tokens, binary cross-entropy loss.

    With training.class_weights balanced the scores of rare labels come out too high: their thresholds rise with them.
    """

    name = "multi_label"
    purpose = "Gives each text, or each pair of texts, all labels that apply, or none, with a score for each label."
    limits = "It knows the labels below and no others: a text about something else gets some of them, or none."
    hub_task = "text-classification"
    forms = ((Column("text"), Column("text_pair", optional=True), Column("labels", "json")),)
    sought = tuple((Sought("labels", NAMES, look, "only one"), TEXT, PAIR) for look in SEVERAL)
    texts = ("text", "text_pair")
    rewrites = True
    faults: ClassVar[Mapping[str, str]] = {
        BROKEN: "write labels as a JSON list, [] where none applies, or in CSV with | or ; between them."
    }
    targets_are = "vector"
    windows_share_target = True
    targets_type = "float32"
    settings = PooledSettings
    balances = True
    metric_names = ("micro_f1", "macro_f1", "subset_accuracy")
    shares = ("subset_accuracy",)

    def read(self, values: Mapping[str, str | None], settings: Mapping[str, Any]) -> Mapping[str, str] | Fault:
        from components.sequences.label_cells import read_labels

        labels = read_labels(values["labels"])
        if isinstance(labels, str):
            return Fault(BROKEN, labels)
        texts = {role: text for role in self.texts if (text := values.get(role)) is not None}
        return {**texts, "label": json_text(sorted(labels))}

    def words(self, label: str) -> Sequence[str]:
        labels: list[str] = json.loads(label)
        return labels

    def settle(self, settings: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
        return settle_pooling(settings, base)

    def build_network(self, base: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import build_sequence_network

        network = build_sequence_network(
            base, spec.labels, "multi_label_classification", spec.settings.get("pooling", "cls")
        )
        if "shares" in spec.fitted:
            _start_at(getattr(network.classifier, "out_proj", network.classifier), spec.fitted["shares"])
        return network

    def start(self, targets: NDArray[Any], spec: Spec) -> dict[str, Any]:
        """The share of the training rows to which each label applies: what a new head should say of any text."""
        return {"shares": targets.reshape(-1, len(spec.labels)).mean(axis=0, dtype=np.float64).tolist()}

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import load_sequence_network

        return load_sequence_network(folder)

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.sequences.text_windows import window_texts

        return window_texts(tokenizer, rows, spec)

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        vectors: list[list[float]] = self._actual([row["label"] for row in rows], spec.labels).astype(float).tolist()
        return [vectors[row] for row in windows.rows]

    def weights(self, targets: NDArray[Any], spec: Spec) -> NDArray[np.float32] | None:
        """Of each label's positives: negatives to positives, at most ten to one either way."""
        vectors = targets.reshape(-1, len(spec.labels))
        positives = vectors.sum(axis=0)
        ratio = (len(vectors) - positives) / np.maximum(positives, 1)
        capped: NDArray[np.float32] = np.clip(ratio, 1 / HIGHEST_WEIGHT, HIGHEST_WEIGHT).astype(np.float32)
        return capped

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        smoothed = targets * (1 - training.label_smoothing) + training.label_smoothing / 2
        return binary_cross_entropy_with_logits(outputs.float(), smoothed, pos_weight=weights)

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """Logits (rows, labels)."""
        from components.sequences.text_windows import mean_of_windows

        return mean_of_windows(windows, outputs, len(rows))

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        from scipy.special import expit

        from components.models.calibration import fit_temperature
        from components.sequences.multi_label_metrics import fit_thresholds

        logits = np.asarray(outputs, np.float64)  # (rows, labels)
        actual = self._actual([row["label"] for row in rows], spec.labels)
        signed = np.where(actual, -logits, logits)
        temperature = fit_temperature(lambda t: float(np.logaddexp(0, signed / t).mean()))
        thresholds = fit_thresholds(actual, expit(logits / temperature)).tolist()
        return {"temperature": temperature, "thresholds": dict(zip(spec.labels, thresholds, strict=True))}

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from scipy.special import expit

        scores = expit(np.asarray(outputs, np.float64) / spec.fitted.get("temperature", 1.0))
        thresholds = self._thresholds(spec)
        given = scores >= thresholds
        sure = np.where(given, scores, 1 - scores).min(axis=1)
        margins = np.abs(scores - thresholds).min(axis=1)
        return [
            {
                "labels": sorted(spec.labels[index] for index in np.flatnonzero(given[row])),
                "score": float(sure[row]),
                "margin": float(margins[row]),
                "names": spec.labels,
                "scores": scores[row].tolist(),
            }
            for row in range(len(rows))
        ]

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        """All labels that apply, how sure the least sure of all decisions is, and the likeliest labels."""
        scores: Sequence[float] = answer["scores"]
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_k]
        top = [{"label": answer["names"][index], "score": round(scores[index], 6)} for index in best]
        return {"labels": list(answer["labels"]), "score": round(answer["score"], 6), "top": top}

    def explained(self, answer: Answer) -> Mapping[str, float]:
        return dict(zip(answer["names"], answer["scores"], strict=True))

    def margin(self, answer: Answer) -> float:
        return float(answer["margin"])

    def said(self, answer: Answer) -> str:
        return json_text(answer["labels"])

    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        """The Jaccard similarity of the labels that apply and those that are given."""
        from components.sequences.multi_label_metrics import overlaps

        return overlaps(truths, said)

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        """While nothing is fitted, as during training, labels are decided by the thresholds that suit these rows."""
        from components.sequences.multi_label_metrics import multi_label_metrics

        labels, actual, scores = self._compared(truths, answers, spec)
        return multi_label_metrics(actual, self._given(labels, actual, scores, answers, spec), scores)

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        from components.sequences.multi_label_metrics import label_statistic

        return label_statistic(metric, truths, said)

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        """Beside the table of labels, how often a label applies that has a score of about so much."""
        from components.sequences.classification_metrics import reliability
        from components.sequences.multi_label_metrics import UNFITTED, per_label

        labels, actual, scores = self._compared(truths, answers, spec)
        given = self._given(labels, actual, scores, answers, spec)
        thresholds = np.pad(self._thresholds(spec), (0, len(labels) - len(spec.labels)), constant_values=UNFITTED)
        table = per_label(actual, given, scores, labels, thresholds)
        return {"per_class": table, "reliability": reliability(actual.ravel(), scores.ravel())}

    def _actual(self, truths: Sequence[str], labels: Sequence[str]) -> NDArray[np.bool_]:
        from components.sequences.multi_label_metrics import flags

        return flags([self.words(truth) for truth in truths], labels)

    def _thresholds(self, spec: Spec) -> Numbers:
        from components.sequences.multi_label_metrics import UNFITTED

        fitted = spec.fitted.get("thresholds", {})
        return np.array([fitted.get(label, UNFITTED) for label in spec.labels], np.float64)

    def _compared(
        self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec
    ) -> tuple[list[str], NDArray[np.bool_], Numbers]:
        """The labels, which apply, and their scores; one that the model does not know has the score zero."""
        strange = sorted({word for truth in set(truths) for word in self.words(truth)} - set(spec.labels))
        labels = [*spec.labels, *strange]
        scores = np.zeros((len(answers), len(labels)))
        scores[:, : len(spec.labels)] = [answer["scores"] for answer in answers]
        return labels, self._actual(truths, labels), scores

    @staticmethod
    def _given(
        labels: Sequence[str], actual: NDArray[np.bool_], scores: Numbers, answers: Sequence[Answer], spec: Spec
    ) -> NDArray[np.bool_]:
        from components.sequences.multi_label_metrics import fit_thresholds, flags

        if "thresholds" in spec.fitted:
            return flags([answer["labels"] for answer in answers], labels)
        return scores >= fit_thresholds(actual, scores)


def _start_at(head: Any, shares: Sequence[float]) -> None:
    """Let a new head give each label its share: else the first hundreds of steps learn only that labels are rare.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, on the prior of the last layer.
    """
    import torch
    from scipy.special import logit

    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(logit(np.clip(shares, RAREST, 1 - RAREST))))


TASK_TYPE: TaskType = MultiLabel()
