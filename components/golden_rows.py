"""Golden rows: inputs of every length with the answers of the trainer, which every later form must repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.model_directory import GoldenRow

if TYPE_CHECKING:
    from components.inference import Predictor
    from components.task_types import Row

GOLDEN_ROWS = 24
ANSWER_COLUMNS = ("label",)


def golden_rows(predictor: Predictor, rows: Sequence[Row], lengths: NDArray[np.int32]) -> list[GoldenRow]:
    """About two dozen rows from the shortest to the longest, with their scores.

    Args:
        rows: the validation rows.
        lengths: (rows,) in tokens.
    """
    order = np.argsort(lengths, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(GOLDEN_ROWS, len(order))).round().astype(int))
    chosen = [{key: value for key, value in rows[row].items() if key not in ANSWER_COLUMNS} for row in order[places]]
    scores = predictor.scores(chosen)
    return [GoldenRow(row=row, scores=tuple(map(float, own))) for row, own in zip(chosen, scores, strict=True)]
