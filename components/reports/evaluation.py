"""Scores of a model on the frozen rows, with intervals: a model directory and rows in, an `EvaluationReport` out.

`predictions.parquet` keeps what was said about every row, `report.json` everything that a person or a plot wants:
slices, the worst mistakes, the most confident first, and what the task type has to show, such as a per-class table.
`mistakes.csv` has those mistakes for whoever opens a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.behaviour.examination import count_failures, examine_behaviour
from components.behaviour.templates import Case
from components.config import Evaluation
from components.digests import canonical, digest_file, digest_of
from components.errors import DataError
from components.models.inference import Predictor
from components.models.model_directory import model_digest
from components.records import EvaluationReport
from components.reports.mistakes import worst_mistakes
from components.reports.slices import slice_columns, slice_values
from components.reports.statistics import bootstrap_scores, interval, mean_statistic
from components.task_types import Answer, Row, TaskType, Windows

if TYPE_CHECKING:
    import pandas as pd

REPORT = "report.json"
PREDICTIONS = "predictions.parquet"
BEHAVIOUR = "behaviour.parquet"  # where behaviour was asked for
MISTAKES = "mistakes.csv"
FILES = (PREDICTIONS, REPORT, BEHAVIOUR, MISTAKES)
CONFIDENCE = 0.95


def evaluate_model(
    model: Path,
    test_file: Path,
    settings: Evaluation,
    folder: Path,
    *,
    device: str = "cpu",
    cases: Sequence[Case] = (),
) -> EvaluationReport:
    """Score a model directory on the rows of a parquet file, through the code that serves.

    Args:
        model: model directory.
        test_file: rows with row_id, the text columns, label and the slice columns.
        folder: where the report goes.
        device: cpu or cuda.
        cases: of the run file's own behavioural checks.
    """
    frame = _frozen_rows(test_file)
    predictor = Predictor.load(model, device)
    task_type, rows, truths = predictor.task_type, frame.to_dict("records"), frame["label"].tolist()
    windows = predictor.encode(rows)
    answers = predictor.conclude(rows, windows, predictor.outputs_of(windows.features))
    predictions = _predictions(task_type, frame, answers)
    predictions.to_parquet(folder / PREDICTIONS, index=False)
    mistakes = worst_mistakes(task_type, predictions)
    mistakes.to_csv(folder / MISTAKES, index=False)
    metrics = {**task_type.metrics(truths, answers, predictor.spec), **_shares_of(windows, len(rows))}
    # Questions on one passage are right or wrong together: where a text groups rows, it is their document.
    documents = settings.documents or next(iter(task_type.grouped_by), None)
    said = predictions["predicted"].tolist()
    intervals = _intervals(task_type, truths, said, settings, documents_of(frame, documents))
    report = {
        "metrics": metrics,
        "intervals": intervals,
        "slices": _slices(task_type, predictions, settings),
        "sliced_by": list(slice_columns(settings)),
        "documents": documents,
        "min_slice_rows": settings.min_slice_rows,
        "behaviour": _behaviour(predictor, rows, settings, cases, folder),
        "different_answers": {"given": len(set(said)), "true": len(set(truths))},
        "mistakes": mistakes.to_dict("records"),
        **task_type.details(truths, answers, predictor.spec),
    }
    (folder / REPORT).write_text(canonical(report), encoding="utf-8")
    return EvaluationReport(
        folder=folder,
        digest=digest_of({name: digest_file(folder / name) for name in FILES if (folder / name).exists()}),
        model_digest=model_digest(model),
        test_digest=digest_file(test_file),
        task_type=task_type.name,
        rows=len(frame),
        primary_metric=settings.metric,
        metrics=metrics,
        intervals=intervals,
        frozen_rows=_what_they_say(frame, task_type),
    )


def _frozen_rows(file: Path) -> pd.DataFrame:
    """The rows, with an empty label where the task type has none."""
    import pandas as pd

    frame = pd.read_parquet(file)
    return frame if "label" in frame else frame.assign(label="")


def _shares_of(windows: Windows, rows: int) -> dict[str, float]:
    """The shares of the rows that are read in several windows, and that lose words which are in none."""
    return {"windowed_share": windows.long_rows() / max(rows, 1), "cut_share": windows.cut / max(rows, 1)}


def documents_of(rows: pd.DataFrame, column: str | None) -> list[str] | None:
    """The document of each frozen row; None where no column is named and every row stands for itself.

    Raises:
        DataError: some rows have none.
    """
    if column is None:
        return None
    nameless = int(rows[column].isna().sum())
    if nameless:
        raise DataError(
            f"{nameless} frozen rows have nothing in '{column}', which evaluation.documents names.",
            "fill that column in the file of data.test, or leave evaluation.documents out.",
        )
    return [str(value) for value in rows[column]]


def _predictions(task_type: TaskType, frame: pd.DataFrame, answers: Sequence[Answer]) -> pd.DataFrame:
    """The rows with what was said about each, how sure that was, and how good."""
    said = [task_type.said(answer) for answer in answers]
    quality = task_type.quality(frame["label"].tolist(), said)
    confidence = [task_type.confidence(answer) for answer in answers]
    return frame.assign(predicted=said, score=confidence, quality=quality, correct=quality >= 1)


def _what_they_say(rows: pd.DataFrame, task_type: TaskType) -> str:
    """The digest of texts and labels: a further column, another file name or order make no other rows of them."""
    columns = [name for name in (*task_type.texts, "label") if name in rows]
    return digest_of(sorted(rows[columns].astype(str).to_numpy().tolist()))


def _behaviour(
    predictor: Predictor, rows: Sequence[Row], settings: Evaluation, cases: Sequence[Case], folder: Path
) -> list[dict[str, Any]]:
    """Failures by capability; every case goes into a table of its own."""
    asked = settings.behaviour
    if not asked.is_asked:
        return []
    found = examine_behaviour(predictor, rows, asked.invariant_to, cases, asked.rows)
    found.to_parquet(folder / BEHAVIOUR, index=False)
    return count_failures(found, asked.invariant_to)


def _intervals(
    task_type: TaskType,
    truths: Sequence[str],
    said: Sequence[str],
    settings: Evaluation,
    documents: Sequence[str] | None,
) -> dict[str, tuple[float, float]]:
    statistics = [task_type.statistic(metric, truths, said) for metric in task_type.metric_names]
    values = bootstrap_scores(statistics, len(truths), settings.bootstrap_samples, 0, documents)
    return {metric: interval(own, CONFIDENCE) for metric, own in zip(task_type.metric_names, values, strict=True)}


def _slices(task_type: TaskType, predictions: pd.DataFrame, settings: Evaluation) -> list[dict[str, Any]]:
    """The metric on each value of everything that is sliced by; `judged` where it has rows enough.

    Where all rows of a slice have the same label, the share of right rows is scored in place of an F1.
    """
    truths, said = predictions["label"].tolist(), predictions["predicted"].tolist()
    statistic = task_type.statistic(settings.metric, truths, said)
    by_row = statistic if settings.metric in task_type.shares else mean_statistic(predictions["quality"].to_numpy())
    return [
        {
            "column": column,
            "value": value,
            "rows": int(rows.sum()),
            "score": float((by_row if column == "label" else statistic)(rows[None, :].astype(np.float64))[0]),
            "judged": int(rows.sum()) >= settings.min_slice_rows,
        }
        for column in slice_columns(settings)
        for value, rows in _parts(predictions, column, task_type)
    ]


def _parts(predictions: pd.DataFrame, column: str, task_type: TaskType) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    values = slice_values(predictions, column, task_type.texts)
    if values is not None:
        yield from ((value, (values == value).to_numpy()) for value in sorted(values.unique()))
