"""This project's side of the table of quality: a job's rows through the real components, in a process of its own.

Rows are read by the task type itself, then tokenized, trained in a child process, and evaluated by the code that
serves. Started by benchmarks/quality.py, which sets the path that modules are found on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quality_job import Job, Row, parse_options, write_answers

Spans = list[tuple[int, int, str]]


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    seconds = 0.0
    if job.nli is not None:
        entailment = Job.load(Path(job.nli))
        _, seconds = _train(entailment, options.seed, job.nli_model(options.seed).parent.parent)
    model, own_seconds = _train(job, options.seed, options.scratch, job.nli and job.nli_model(options.seed))
    from components.config import Evaluation
    from components.reports.evaluation import evaluate_model

    settings = Evaluation(metric=_config(job, options.seed, job.base).evaluation.metric, bootstrap_samples=100)
    report = evaluate_model(
        model, options.scratch / "data" / "test.parquet", settings, options.scratch, device=job.device
    )
    answers = _answers(job, model, options.scratch)
    write_answers(options.scratch, answers, seconds + own_seconds, metrics=dict(report.metrics))


def _config(job: Job, seed: int, base: str) -> Any:
    from components.config import RunConfig
    from components.task_types import find_task_type
    from components.type_settings import with_defaults

    training = {
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "head_learning_rate": job.head_learning_rate,
        "seed": seed,
        "device": job.device,
        "precision": job.precision,
        "early_stopping_patience": None,  # all systems train all epochs
    }
    model = {"base": base, "max_length": job.max_length, "window_overlap": job.overlap}
    content = {"name": "benchmark", "data": {"train": "train.jsonl"}, "task_type": job.task_type, "task": job.task}
    settled = with_defaults({**content, "model": model, "training": training}, find_task_type(job.task_type))
    return RunConfig.model_validate(settled)


def _train(job: Job, seed: int, folder: Path, base: Path | None = None) -> tuple[Path, float]:
    """The model directory and the seconds of its training steps, with one evaluation an epoch."""
    from components.models.base_models import resolve_base_model
    from components.task_types import find_task_type
    from components.training.tokenization import tokenize_dataset
    from components.training.training_process import train_in_process

    config = _config(job, seed, str(base or job.base))
    resolved = resolve_base_model(config.model.base, folder)
    dataset = _dataset(job, config, folder / "data")
    tokens = tokenize_dataset(config, dataset, resolved, folder / "tokens")
    model = train_in_process(config, tokens, resolved, dataset, folder / "training")
    if not model.samples_per_second:
        return model.folder, 0.0
    drawn = tokens.rows if find_task_type(job.task_type).windows_share_target else tokens.windows
    steps = job.epochs * math.ceil(drawn["train"] / job.batch_size)
    return model.folder, steps * job.batch_size / model.samples_per_second


def _dataset(job: Job, config: Any, folder: Path) -> Any:
    """The rows as validation would leave them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.records import ValidatedDataset
    from components.task_types import find_task_type

    task_type = find_task_type(job.task_type)
    folder.mkdir(parents=True)
    counts = {}
    for split in ("train", "validation", "test"):
        rows = [_canonical(row, task_type, config.task) for row in job.rows(split)]
        named = [{"row_id": f"{split}:{number}", **row} for number, row in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(named), folder / f"{split}.parquet")
        counts[split] = len(rows)
    labels = tuple(job.labels) if task_type.has_labels else ()
    return ValidatedDataset(folder, "benchmark", counts, labels, 0, {}, ())


def _canonical(row: Row, task_type: Any, settings: Any) -> dict[str, str]:
    roles = task_type.roles()
    values = {name: _as_text(value) for name, value in row.items() if name in roles}
    if not task_type.rewrites:
        return values
    found = task_type.read(values, settings)
    if not isinstance(found, dict):
        raise SystemExit(f"{row} cannot be read: {found}")
    return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _answers(job: Job, model: Path, folder: Path) -> list[Any]:
    """What the evaluation wrote down for each test row, in the form that all systems answer in."""
    import pandas as pd

    if job.task_type == "fill_mask":
        return _fill(job, model)
    frame = pd.read_parquet(folder / "predictions.parquet")
    said = frame["predicted"].tolist()
    if job.task_type == "token_classification":
        rows = zip(job.rows("test"), frame["text"], said, strict=True)
        return [_in_tokens(row["tokens"], text, json.loads(own)) for row, text, own in rows]
    read = {"multi_label": json.loads, "regression": float}.get(job.task_type, str)
    return [read(own) for own in said]


def _in_tokens(tokens: Sequence[str], text: str, spans: Sequence[Sequence[Any]]) -> Spans:
    """Spans of characters as spans of tokens; a border inside a token makes it -1, which is wrong."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    place = 0
    for number, token in enumerate(tokens):
        place = text.index(token, place)
        starts[place], ends[place + len(token)] = number, number + 1
        place += len(token)
    return [(starts.get(start, -1), ends.get(end, -1), label) for start, end, label in spans]


def _fill(job: Job, model: Path) -> list[str]:
    from components.models.inference import Predictor

    rows = [{"text": row["masked"]} for row in job.rows("test")]
    answers = Predictor.load(model, job.device).predict(rows)
    return [answer["masks"][0]["top"][0]["token"] if answer["masks"] else "" for answer in answers]


if __name__ == "__main__":
    main()
