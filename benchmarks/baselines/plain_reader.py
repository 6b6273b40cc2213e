"""A plain Hugging Face reader, as transformers' run_qa.py does it, with its post-processing.

Long contexts are read in overlapping windows; 20 best starts and ends, answers of at most 30 tokens; with unanswerable
training rows a question stays unanswered where [CLS] has the higher score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from plain_training import PlainTraining
from quality_job import Job, Row, parse_options, write_answers
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding, set_seed

N_BEST, LONGEST = 20, 30
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    network = AutoModelForQuestionAnswering.from_pretrained(job.base, dtype=torch.float32)
    rows = {split: job.rows(split) for split in ("train", "validation", "test")}
    data = {x: _with_targets(_encode(job, tokenizer, rows[x]), rows[x]) for x in ("train", "validation")}
    training = PlainTraining(job, options, network, data, DataCollatorWithPadding(tokenizer))
    training.run()
    encoded = _encode(job, tokenizer, rows["test"])
    starts, ends = training.predict({name: encoded[name] for name in INPUTS if name in encoded})
    may_be_none = any(not row["answers"]["text"] for row in rows["train"])
    windows: list[list[int]] = [[] for _ in rows["test"]]
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        windows[row].append(window)
    answers = [
        _answer(row["context"], encoded, [(k, starts[k], ends[k]) for k in own], may_be_none)
        for row, own in zip(rows["test"], windows, strict=True)
    ]
    write_answers(options.scratch, answers, training.seconds)


def _encode(job: Job, tokenizer: Any, rows: list[Row]) -> Any:
    return tokenizer(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=job.max_length,
        stride=job.overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def _with_targets(encoded: Any, rows: list[Row]) -> dict[str, Any]:
    places = [
        _positions(encoded, window, rows[row]["answers"])
        for window, row in enumerate(encoded["overflow_to_sample_mapping"])
    ]
    positions = {"start_positions": [first for first, _ in places], "end_positions": [last for _, last in places]}
    return {**{name: encoded[name] for name in INPUTS if name in encoded}, **positions}


def _positions(encoded: Any, window: int, answers: Row) -> tuple[int, int]:
    """First and last token of the answer in a window, both [CLS] where it is not whole in it."""
    if not answers["text"]:
        return 0, 0
    start, end = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
    offsets = encoded["offset_mapping"][window]
    inside = [place for place, part in enumerate(encoded.sequence_ids(window)) if part == 1]
    if not inside or offsets[inside[0]][0] > start or offsets[inside[-1]][1] < end:
        return 0, 0
    first = max((place for place in inside if offsets[place][0] <= start), default=0)
    last = min((place for place in inside if offsets[place][1] >= end), default=0)
    return first, last


def _answer(context: str, encoded: Any, windows: list[tuple[int, Any, Any]], may_be_none: bool) -> str:
    best, text = -np.inf, ""
    nothing = min(float(start[0] + end[0]) for _, start, end in windows)
    for window, start, end in windows:
        offsets, parts = encoded["offset_mapping"][window], encoded.sequence_ids(window)
        firsts, lasts = (np.argsort(-scores)[:N_BEST].tolist() for scores in (start, end))
        for first in firsts:
            for last in lasts:
                if last < len(parts) and first <= last < first + LONGEST and parts[first] == parts[last] == 1:
                    score = float(start[first] + end[last])
                    if score > best:
                        best, text = score, context[offsets[first][0] : offsets[last][1]]
    return "" if may_be_none and nothing > best else text


main()
