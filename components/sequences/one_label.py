"""What the types share that give a row one label: how it is shown, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.task_types.base import Answer, Spec, Statistic, TaskType


class OneLabel(TaskType):
    """Answers with `label` and its `score`, and the `scores` of all `labels` in their order."""

    metric_names = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc")
    shares = ("accuracy", "micro_f1")

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        scores: Sequence[float] = answer["scores"]
        best = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:top_k]
        top = [{"label": answer["labels"][index], "score": round(scores[index], 6)} for index in best]
        return {"label": answer["label"], "score": round(answer["score"], 6), "top": top}

    def explained(self, answer: Answer) -> Mapping[str, float]:
        return dict(zip(answer["labels"], answer["scores"], strict=True))

    def margin(self, answer: Answer) -> float:
        best, second = [*sorted(answer["scores"], reverse=True), 0.0][:2]
        return float(best - second)

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        from components.sequences.classification_metrics import classification_metrics

        return classification_metrics(truths, np.array([answer["scores"] for answer in answers]), spec.labels)

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        from components.sequences.classification_metrics import class_statistic

        return class_statistic(metric, truths, said)

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        from components.sequences.classification_metrics import per_class, reliability

        said = [answer["label"] for answer in answers]
        right = np.array([truth == answer for truth, answer in zip(truths, said, strict=True)])
        confidence = np.array([answer["score"] for answer in answers])
        return {**per_class(truths, said), "reliability": reliability(right, confidence)}
