"""Golden rows: inputs of every length with the answers of the trainer, which every later form must repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.models.golden import shown
from components.models.inference import TOLERANCE
from components.models.model_directory import GoldenRow

if TYPE_CHECKING:
    from components.models.inference import Predictor
    from components.task_types import Row

GOLDEN_ROWS = 24
CLEAR = 20 * TOLERANCE  # a decision that hangs on less may come out the other way on another machine


def golden_rows(predictor: Predictor, rows: Sequence[Row]) -> list[GoldenRow]:
    """About two dozen rows from the shortest to the longest, with their answers.

    Args:
        rows: the validation rows.
    """
    texts = predictor.task_type.texts
    inputs = [{name: row[name] for name in texts if name in row} for row in rows]
    lengths = [sum(map(len, row.values())) for row in inputs]
    order = np.argsort(lengths, kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(3 * GOLDEN_ROWS, len(order))).round().astype(int))
    tried = [inputs[row] for row in order[places]]
    answers = predictor.predict(tried)
    clear = [place for place, answer in enumerate(answers) if predictor.task_type.margin(answer) > CLEAR]
    chosen = clear or list(range(len(tried)))
    kept = np.unique(np.linspace(0, len(chosen) - 1, min(GOLDEN_ROWS, len(chosen))).round().astype(int))
    full = shown(predictor, answers)
    return [GoldenRow(row=tried[chosen[k]], answer=full[chosen[k]]) for k in kept]
