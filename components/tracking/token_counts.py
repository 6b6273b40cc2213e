"""How much of the rows a model reads in one piece, and what it cannot reach, as metrics of its MLflow run."""

from __future__ import annotations

from time import time

from components.records import TokenizedDataset
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings


@mlflow_errors
def log_tokens(settings: Settings, run_id: str, tokens: TokenizedDataset) -> None:
    """Log the tokens of each split, and its shares of rows in several windows, cut, and with answers out of reach."""
    from mlflow.entities import Metric

    now = int(time() * 1000)
    counts = {"windowed": tokens.long_rows, "cut": tokens.cut_rows, "unreachable": tokens.unreachable_rows}
    values = {f"data/{split}_tokens": float(count) for split, count in tokens.tokens.items()}
    for what, rows in counts.items():
        for split, count in rows.items():
            values[f"data/{split}_{what}_share"] = count / max(tokens.rows[split], 1)
    open_store(settings).log_batch(run_id, [Metric(name, value, now, 0) for name, value in values.items()])
