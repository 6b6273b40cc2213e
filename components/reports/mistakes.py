"""The worst mistakes of a model on the frozen rows, the most confident first: a table, and the first for its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.task_types import TaskType

if TYPE_CHECKING:
    import pandas as pd

MOST_MISTAKES = 50
MOST_ON_THE_CARD = 5
LONGEST_CELL = 80  # characters of a text or an answer on the card


def worst_mistakes(task_type: TaskType, predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows with row_id, texts, label, predicted and score: the most wrong, of those the most confident."""
    wrong = predictions[~predictions["correct"]]
    wrong = wrong.sort_values(["quality", "score"], ascending=[True, False], kind="stable").head(MOST_MISTAKES)
    texts = [name for name in task_type.texts if name in wrong.columns]
    return wrong[["row_id", *texts, "label", "predicted", "score"]]


def mistake_cells(mistakes: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The head and the first rows of a small table of mistakes, long texts cut."""
    first = mistakes[:MOST_ON_THE_CARD]
    shown = [name for name in first[0] if name not in ("row_id", "score")] if first else []
    rows = [[*(_cut(row[name]) for name in shown), f"{row['score']:.2f}"] for row in first]
    return [*(name.replace("_", " ") for name in shown), "score"], rows


def _cut(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
