"""A model directory as MLflow's own tools load it: `mlflow.pyfunc.load_model` and `mlflow models serve`.

This file and what it imports travel with each registered model, so that it loads where this project is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataError
from components.models.inference import Predictor

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_TOP_K = 3
OPTIONAL = "text_pair"  # a model of single texts has none


class LoadedModel:
    """What MLflow calls: a table of texts in, a table of answers out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The answer to each row.

        Args:
            model_input: a frame with the columns that the task type reads (text, text_pair, question ...), or a list of
                texts.
            params: `top_k`, how many of the likeliest to name with their scores; 3 where it is left out.

        Returns:
            One column for each key of the endpoint's answers.

        Raises:
            DataError: a column is missing, or a cell of it is empty.
        """
        import pandas as pd

        top_k = int((params or {}).get("top_k", DEFAULT_TOP_K))
        task_type = self.predictor.task_type
        answers = self.predictor.predict(_rows(model_input, task_type.texts))
        # As objects: pandas would make a fraction of every whole number beside a None.
        return pd.DataFrame([task_type.present(answer, top_k) for answer in answers], dtype=object)


def _load_pyfunc(data_path: str) -> LoadedModel:
    """Load the model directory that MLflow has unpacked; the name is MLflow's."""
    return LoadedModel(Predictor.load(Path(data_path)))


def _rows(model_input: Any, texts: Sequence[str]) -> Sequence[Mapping[str, str]]:
    import pandas as pd

    frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame({texts[0]: list(model_input)})
    # A pair column that MLflow's schema filled with nothing is no pair column.
    used = [name for name in texts if name in frame.columns and not (name == OPTIONAL and frame[name].isna().all())]
    missing = [name for name in texts if name not in used and name != OPTIONAL]
    if missing:
        raise DataError(
            f"The input has no column '{missing[0]}'; it has: {', '.join(map(str, frame.columns))}.",
            f"name the columns {' and '.join(repr(name) for name in texts if name != OPTIONAL)}, and that with the "
            f"second texts of pairs '{OPTIONAL}'.",
        )
    empty = [name for name in used if frame[name].isna().any()]
    if empty and len(frame):
        row = int(frame[empty[0]].isna().to_numpy().argmax())
        raise DataError(f"Row {row} has no {empty[0]}.", "send a text in each row, if need be an empty one.")
    rows: Sequence[Mapping[str, str]] = frame[used].astype(str).to_dict("records")
    return rows
