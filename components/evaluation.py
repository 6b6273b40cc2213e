"""Scores of a model on the frozen rows, with intervals: a model directory and rows in, an `EvaluationReport` out.

`predictions.parquet` keeps what was said about every row, `report.json` everything that a person or a plot wants:
per-class table, confusion, reliability, slices, the most confident mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.classification_metrics import CALIBRATION_BINS
from components.config import Evaluation
from components.digests import canonical, digest_file, digest_of
from components.inference import Predictor
from components.model_directory import model_digest
from components.records import EvaluationReport
from components.statistics import METRICS, Codes, bootstrap_scores, interval
from components.task_types import Scores

if TYPE_CHECKING:
    import pandas as pd

REPORT = "report.json"
PREDICTIONS = "predictions.parquet"
CONFIDENCE = 0.95
MOST_MISTAKES = 50


def evaluate_model(
    model: Path, test_file: Path, settings: Evaluation, folder: Path, *, device: str = "cpu"
) -> EvaluationReport:
    """Score a model directory on the rows of a parquet file, through the code that serves.

    Args:
        model: model directory.
        test_file: rows with row_id, the text columns, label and the slice columns.
        folder: where the report goes.
        device: cpu or cuda.
    """
    import pandas as pd

    frame = pd.read_parquet(test_file)
    predictor = Predictor.load(model, device)
    labels = predictor.manifest.labels
    scores = predictor.scores(frame.to_dict("records"))
    predictions = _predictions(frame, scores, labels)
    predictions.to_parquet(folder / PREDICTIONS, index=False)
    metrics = predictor.task_type.metrics(list(frame["label"]), scores, labels)
    intervals = _intervals(predictions, settings)
    report = {
        "metrics": metrics,
        "intervals": intervals,
        "labels": _all_labels(predictions),
        "slices": _slices(predictions, settings),
        "mistakes": _mistakes(predictions),
        "reliability": _reliability(predictions),
        **_per_class(predictions),
    }
    (folder / REPORT).write_text(canonical(report), encoding="utf-8")
    return EvaluationReport(
        folder=folder,
        digest=digest_of({name: digest_file(folder / name) for name in (PREDICTIONS, REPORT)}),
        model_digest=model_digest(model),
        test_digest=digest_file(test_file),
        rows=len(frame),
        primary_metric=settings.metric,
        metrics=metrics,
        intervals=intervals,
    )


def _predictions(frame: pd.DataFrame, scores: Scores, labels: Sequence[str]) -> pd.DataFrame:
    predicted = np.asarray(labels, dtype=object)[scores.argmax(axis=1)]
    return frame.assign(
        predicted=predicted, score=scores.max(axis=1), correct=frame["label"].to_numpy(dtype=object) == predicted
    )


def _all_labels(predictions: pd.DataFrame) -> list[str]:
    return sorted(set(predictions["label"]) | set(predictions["predicted"]))


def codes(column: Sequence[str], labels: Sequence[str]) -> Codes:
    """The number of each label in a sorted list."""
    return np.searchsorted(np.asarray(labels, dtype=str), np.asarray(column, dtype=str))


def _intervals(predictions: pd.DataFrame, settings: Evaluation) -> dict[str, tuple[float, float]]:
    labels = _all_labels(predictions)
    truth, answers = codes(predictions["label"], labels), codes(predictions["predicted"], labels)
    return {
        metric: interval(
            bootstrap_scores(metric, truth, [answers], len(labels), settings.bootstrap_samples, seed=0)[0], CONFIDENCE
        )
        for metric in METRICS
    }


def _per_class(predictions: pd.DataFrame) -> dict[str, Any]:
    """Precision, recall, F1 and support of each label, and the confusion matrix with the truth in rows."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels = _all_labels(predictions)
    truth, predicted = predictions["label"], predictions["predicted"]
    columns = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    names = ("precision", "recall", "f1", "support")
    per_class = [
        {"label": label, **{name: values[i].item() for name, values in zip(names, columns, strict=True)}}
        for i, label in enumerate(labels)
    ]
    return {"per_class": per_class, "confusion": confusion_matrix(truth, predicted, labels=labels).tolist()}


def _slices(predictions: pd.DataFrame, settings: Evaluation) -> list[dict[str, Any]]:
    """Accuracy of each value of each slice column; `judged` where it has rows enough."""
    return [
        {
            "column": column,
            "value": str(value),
            "rows": len(rows),
            "accuracy": float(rows["correct"].mean()),
            "judged": len(rows) >= settings.min_slice_rows,
        }
        for column in settings.slices
        for value, rows in predictions.groupby(column, dropna=False)
    ]


def _mistakes(predictions: pd.DataFrame) -> list[Mapping[str, Any]]:
    wrong = predictions[~predictions["correct"]].nlargest(MOST_MISTAKES, "score")
    texts = [name for name in ("text", "text_pair") if name in wrong.columns]
    rows: list[Mapping[str, Any]] = wrong[["row_id", *texts, "label", "predicted", "score"]].to_dict("records")
    return rows


def _reliability(predictions: pd.DataFrame) -> list[dict[str, float]]:
    """Mean confidence and accuracy of each bin that has rows: the points of a reliability diagram."""
    bins = np.clip(np.ceil(predictions["score"] * CALIBRATION_BINS).astype(int), 1, CALIBRATION_BINS)
    return [
        {
            "confidence": float(rows["score"].mean()),
            "accuracy": float(rows["correct"].mean()),
            "rows": len(rows),
        }
        for _, rows in predictions.groupby(bins)
    ]
