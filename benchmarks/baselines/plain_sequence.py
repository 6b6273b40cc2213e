"""A plain Hugging Face script for one vector a text: classification, pairs, several labels, regression.

As transformers' run_glue.py does it: the head on [CLS], texts cut at the longest input, raw numbers as regression
targets. Several labels are decided by one threshold that is fitted on the validation rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from plain_training import PlainTraining
from quality_job import Job, Row, best_threshold, parse_options, write_answers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, set_seed

PROBLEMS = {
    "text_classification": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    network = AutoModelForSequenceClassification.from_pretrained(
        job.base, num_labels=len(job.labels) or 1, problem_type=PROBLEMS[job.task_type], dtype=torch.float32
    )
    data = {split: _encode(job, tokenizer, job.rows(split)) for split in ("train", "validation", "test")}
    training = PlainTraining(job, options, network, data, DataCollatorWithPadding(tokenizer))
    training.run()
    logits = {split: training.predict(data[split]) for split in ("validation", "test")}
    write_answers(options.scratch, _answers(job, logits), training.seconds)


def _encode(job: Job, tokenizer: Any, rows: list[Row]) -> dict[str, Any]:
    texts = [[row[name] for row in rows] for name in ("text", "text_pair") if name in rows[0]]
    return {**tokenizer(*texts, truncation=True, max_length=job.max_length), "labels": [_target(job, x) for x in rows]}


def _target(job: Job, row: Row) -> Any:
    if job.task_type == "regression":
        return row["value"]
    if job.task_type == "multi_label":
        return [float(label in row["labels"]) for label in job.labels]
    return list(job.labels).index(row["label"])


def _answers(job: Job, logits: dict[str, Any]) -> list[Any]:
    if job.task_type == "regression":
        return logits["test"].reshape(-1).astype(float).tolist()
    if job.task_type == "text_classification":
        return [job.labels[index] for index in logits["test"].argmax(axis=-1)]
    scores = {split: 1 / (1 + np.exp(-values.astype(np.float64))) for split, values in logits.items()}
    truths = [row["labels"] for row in job.rows("validation")]
    given = scores["test"] >= best_threshold(truths, scores["validation"], job.labels)
    return [[label for label, yes in zip(job.labels, row, strict=True) if yes] for row in given]


main()
