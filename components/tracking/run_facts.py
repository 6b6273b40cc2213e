"""What a run starts from, for the comparison in MLflow: settings as parameters, how its rows are read as metrics."""

from __future__ import annotations

import json
from time import time
from typing import Any

from components.config import RunConfig
from components.records import BaseModel, TokenizedDataset, ValidatedDataset
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings
from components.task_types import find_task_type

LONGEST_VALUE = 500  # characters; MLflow takes more, and nobody compares them
NO_PARAMETERS = {"max_hours", "device", "precision"}  # a limit and two wishes; what was used is in log_training


def run_params(config: RunConfig, dataset: ValidatedDataset, base: BaseModel) -> dict[str, Any]:
    """What distinguishes one training from another, by stable names; what a type that learns nothing ignores is out."""
    training = config.training.model_dump(exclude=NO_PARAMETERS) if find_task_type(config.task_type).trains else {}
    task = {name: value if isinstance(value, str) else json.dumps(value) for name, value in config.task.items()}
    return {
        "task_type": config.task_type,
        "model.base": base.spec,
        "model.max_length": config.model.max_length,
        "model.window_overlap": config.model.overlap,
        "data.train_rows": dataset.rows["train"],
        "data.validation_rows": dataset.rows["validation"],
        "data.quarantined_rows": dataset.quarantined_rows,
        **({"data.feedback_rows": dataset.feedback["used"]} if dataset.feedback else {}),
        "data.labels": len(dataset.labels),
        "evaluation.metric": config.evaluation.metric,
        **({"evaluation.documents": config.evaluation.documents} if config.evaluation.documents else {}),
        **{f"task.{name}": value[:LONGEST_VALUE] for name, value in task.items()},
        **{f"training.{name}": value for name, value in training.items()},
    }


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
