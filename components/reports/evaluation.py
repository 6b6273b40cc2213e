"""Scores of a model on the frozen rows, with intervals: a model directory and rows in, an `EvaluationReport` out.

`predictions.parquet` keeps what was said about every row, `report.json` everything that a person or a plot wants:
slices, the worst mistakes, the most confident first, and what the task type has to show, such as a per-class table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.config import Evaluation
from components.digests import canonical, digest_file, digest_of
from components.models.inference import Predictor
from components.models.model_directory import model_digest
from components.records import EvaluationReport
from components.reports.statistics import bootstrap_scores, interval
from components.task_types import TaskType

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
    if "label" not in frame:
        frame["label"] = ""
    predictor = Predictor.load(model, device)
    task_type, spec = predictor.task_type, predictor.spec
    answers = predictor.predict(frame.to_dict("records"))
    truths = frame["label"].tolist()
    said = [task_type.said(answer) for answer in answers]
    quality = task_type.quality(truths, said)
    confidence = [task_type.confidence(answer) for answer in answers]
    predictions = frame.assign(predicted=said, score=confidence, quality=quality, correct=quality >= 1)
    predictions.to_parquet(folder / PREDICTIONS, index=False)
    metrics = task_type.metrics(truths, answers, spec)
    intervals = _intervals(task_type, truths, said, settings)
    report = {
        "metrics": metrics,
        "intervals": intervals,
        "slices": _slices(task_type, predictions, settings),
        "mistakes": _mistakes(task_type, predictions),
        **task_type.details(truths, answers, spec),
    }
    (folder / REPORT).write_text(canonical(report), encoding="utf-8")
    return EvaluationReport(
        folder=folder,
        digest=digest_of({name: digest_file(folder / name) for name in (PREDICTIONS, REPORT)}),
        model_digest=model_digest(model),
        test_digest=digest_file(test_file),
        task_type=task_type.name,
        rows=len(frame),
        primary_metric=settings.metric,
        metrics=metrics,
        intervals=intervals,
    )


def _intervals(
    task_type: TaskType, truths: Sequence[str], said: Sequence[str], settings: Evaluation
) -> dict[str, tuple[float, float]]:
    statistics = [task_type.statistic(metric, truths, said) for metric in task_type.metric_names]
    values = bootstrap_scores(statistics, len(truths), settings.bootstrap_samples, seed=0)
    return {metric: interval(own, CONFIDENCE) for metric, own in zip(task_type.metric_names, values, strict=True)}


def _slices(task_type: TaskType, predictions: pd.DataFrame, settings: Evaluation) -> list[dict[str, Any]]:
    """The metric on each value of each slice column; `judged` where it has rows enough."""
    statistic = task_type.statistic(settings.metric, predictions["label"].tolist(), predictions["predicted"].tolist())
    return [
        {
            "column": column,
            "value": str(value),
            "rows": len(rows),
            "score": float(statistic(predictions.index.isin(rows.index)[None, :].astype(np.float64))[0]),
            "judged": len(rows) >= settings.min_slice_rows,
        }
        for column in settings.slices
        for value, rows in predictions.groupby(column, dropna=False)
    ]


def _mistakes(task_type: TaskType, predictions: pd.DataFrame) -> list[Mapping[str, Any]]:
    wrong = predictions[~predictions["correct"]]
    wrong = wrong.sort_values(["quality", "score"], ascending=[True, False], kind="stable").head(MOST_MISTAKES)
    texts = [name for name in task_type.texts if name in wrong.columns]
    rows: list[Mapping[str, Any]] = wrong[["row_id", *texts, "label", "predicted", "score"]].to_dict("records")
    return rows
