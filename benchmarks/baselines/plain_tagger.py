"""A plain Hugging Face token classifier, as transformers' run_ner.py does it.

Words go in as they are (`is_split_into_words`), the first piece of each gets its tag, the others -100. Words beyond the
longest input get O.
"""

from __future__ import annotations

from typing import Any

import torch
from plain_training import PlainTraining
from quality_job import Job, Row, parse_options, spans_of_bio, write_answers
from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification, set_seed

IGNORED = -100


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    set_seed(options.seed)
    tags = ["O", *(f"{letter}-{label}" for label in job.labels for letter in "BI")]
    # Byte-level tokenizers know words in a list only with this; it is what run_ner.py does for them.
    prefix = "Ġ" in str(AutoTokenizer.from_pretrained(job.base).tokenize(" a"))
    tokenizer = AutoTokenizer.from_pretrained(job.base, **({"add_prefix_space": True} if prefix else {}))
    network = AutoModelForTokenClassification.from_pretrained(job.base, num_labels=len(tags), dtype=torch.float32)
    rows = {split: job.rows(split) for split in ("train", "validation", "test")}
    data = {split: _encode(job, tokenizer, own, tags) for split, own in rows.items()}
    training = PlainTraining(job, options, network, data, DataCollatorForTokenClassification(tokenizer))
    training.run()
    found = training.predict(data["test"]).argmax(axis=-1)
    answers = [
        spans_of_bio(_tags(row, own, targets, tags))
        for row, own, targets in zip(rows["test"], found, data["test"]["labels"], strict=True)
    ]
    write_answers(options.scratch, answers, training.seconds)


def _encode(job: Job, tokenizer: Any, rows: list[Row], tags: list[str]) -> dict[str, Any]:
    words = [row["tokens"] for row in rows]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=job.max_length)
    index = {tag: number for number, tag in enumerate(tags)}
    labels = [_targets(encoded.word_ids(place), row["tags"], index) for place, row in enumerate(rows)]
    return {**encoded, "labels": labels}


def _targets(words: list[int | None], tags: list[str], index: dict[str, int]) -> list[int]:
    before = [None, *words[:-1]]
    return [
        IGNORED if word is None or word == last else index[tags[word]] for word, last in zip(words, before, strict=True)
    ]


def _tags(row: Row, found: Any, targets: list[int], tags: list[str]) -> list[str]:
    """The tag of each word: of its first piece, where the targets stand."""
    said = [tags[number] for number, target in zip(found, targets, strict=False) if target != IGNORED]
    return said + ["O"] * (len(row["tokens"]) - len(said))


main()
