"""The reference of a model: what is measured of rows that it never learned from, as the endpoint measures what it is
asked.

Made of the frozen rows with the engine that serves, carried in the bundle as `src/reference/` and by the MLflow run
that made the version: `rows.parquet`, one line a row and no text, and `reference.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from components.digests import canonical
from components.errors import StorageError
from components.models.inference import Predictor
from components.models.model_directory import model_digest
from components.monitoring.measuring import Meter
from components.monitoring.samples import ROWS, table_of
from components.records import as_json
from components.task_types import Answer, Row, Windows

if TYPE_CHECKING:
    import pandas as pd

FACTS = "reference.json"
FOLDER = "reference"  # in a bundle, and below `monitoring` in MLflow
MOST_ROWS = 3000


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model did on rows that it never learned from; `right` is the share that it answered rightly.

    `origin` says which rows these were.
    """

    folder: Path
    model_digest: str
    engine: str
    origin: str
    rows: int
    right: float

    def table(self) -> pd.DataFrame:
        """What was measured of each row."""
        import pandas as pd

        return pd.read_parquet(self.folder / ROWS)


class Said(NamedTuple):
    """Rows, what was read of them, and the answers."""

    rows: Sequence[Row]
    windows: Windows
    answers: Sequence[Answer]

    def drawn(self, most: int) -> Said:
        """At most so many of the rows, each as likely as another."""
        if len(self.rows) <= most:
            return self
        chosen = np.sort(np.random.default_rng(0).choice(len(self.rows), most, replace=False)).tolist()
        places = {row: place for place, row in enumerate(chosen)}
        kept = [number for number, row in enumerate(self.windows.rows) if row in places]
        windows = Windows(
            [self.windows.features[number] for number in kept], [places[self.windows.rows[number]] for number in kept]
        )
        return Said([self.rows[row] for row in chosen], windows, [self.answers[row] for row in chosen])


def make_reference(predictor: Predictor, model: Path, engine: str, rows_file: Path, folder: Path) -> Reference:
    """Measure what a model says about the rows of a parquet file, at most `MOST_ROWS` drawn ones.

    Args:
        predictor: the model, by the engine that serves.
        model: its model directory.
        engine: name of that engine.
        rows_file: rows with the text columns and label, such as the frozen ones.
        folder: where the reference goes.
    """
    import pandas as pd

    frame = pd.read_parquet(rows_file)
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0)
    rows: list[Row] = frame.to_dict("records")
    windows = predictor.encode(rows)
    answers = predictor.conclude(rows, windows, predictor.outputs_of(windows.features))
    return write_reference(predictor, model, engine, Said(rows, windows, answers), folder)


def write_reference(predictor: Predictor, model: Path, engine: str, said: Said, folder: Path) -> Reference:
    """Measure what was said about rows that are known, with their labels.

    Args:
        predictor: who said it.
        model: its model directory.
        engine: name of its engine.
        said: of these, at most `MOST_ROWS` drawn ones count.
        folder: where the reference goes.
    """
    rows, windows, answers = said.drawn(MOST_ROWS)
    kind = predictor.task_type
    truths = [str(row.get("label", "")) for row in rows]
    right = kind.quality(truths, [kind.said(answer) for answer in answers]) >= 1
    folder.mkdir(parents=True, exist_ok=True)
    table_of(Meter(predictor).measure(rows, windows, answers)).to_parquet(folder / ROWS, index=False)
    made = Reference(folder, model_digest(model), engine, "frozen rows", len(rows), float(right.mean()))
    facts = {name: value for name, value in as_json(made).items() if name != "folder"}
    (folder / FACTS).write_text(canonical(facts), encoding="utf-8")
    return made


def read_reference(folder: Path) -> Reference | None:
    """A reference that was made; None where there is none.

    Raises:
        StorageError: it is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return Reference(folder=folder, **facts)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StorageError(f"{folder / FACTS} is damaged.", f"remove {folder}; it is made again.") from error
