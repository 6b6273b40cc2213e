"""A model directory as MLflow's own tools load it: `mlflow.pyfunc.load_model` and `mlflow models serve`.

This file and what it imports travel with each registered model, so that it loads where this project is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataError
from components.inference import Predictor

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_TOP_K = 3
TEXT_COLUMNS = ("text", "text_pair")


class LoadedModel:
    """What MLflow calls: a table of texts in, a table of answers out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The answer to each row.

        Args:
            model_input: a frame with the column text (and text_pair), or a list of texts.
            params: `top_k`, how many labels to name with their scores; 3 where it is left out.

        Returns:
            The columns label, score, labels and scores; the last two list the `top_k` best.

        Raises:
            DataError: there is no column text, or a cell of it is empty.
        """
        import pandas as pd

        names = self.predictor.manifest.labels
        top_k = min(int((params or {}).get("top_k", DEFAULT_TOP_K)), len(names))
        answers = []
        for answer in self.predictor.predict(_rows(model_input)):
            best = sorted(range(len(names)), key=lambda index: -answer.scores[index])[:top_k]
            scores = [answer.scores[index] for index in best]
            answers.append((answer.label, answer.score, [names[index] for index in best], scores))
        return pd.DataFrame(answers, columns=["label", "score", "labels", "scores"])


def _load_pyfunc(data_path: str) -> LoadedModel:
    """Load the model directory that MLflow has unpacked; the name is MLflow's."""
    return LoadedModel(Predictor.load(Path(data_path)))


def _rows(model_input: Any) -> Sequence[Mapping[str, str]]:
    import pandas as pd

    frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame({"text": list(model_input)})
    if "text" not in frame.columns:
        raise DataError(
            f"The input has no column 'text'; it has: {', '.join(map(str, frame.columns))}.",
            "name the column with the texts 'text', and that with the second texts of pairs 'text_pair'.",
        )
    # A pair column that MLflow's schema filled with nothing is no pair column.
    used = [name for name in TEXT_COLUMNS if name in frame.columns and not frame[name].isna().all()]
    empty = [name for name in {"text", *used} if frame[name].isna().any()]
    if empty and len(frame):
        row = int(frame[empty[0]].isna().to_numpy().argmax())
        raise DataError(f"Row {row} has no {empty[0]}.", "send a text in each row, if need be an empty one.")
    rows: Sequence[Mapping[str, str]] = frame[used].astype(str).to_dict("records")
    return rows
