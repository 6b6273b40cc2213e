"""A plain Hugging Face masked language model, as transformers' run_mlm.py with --line_by_line does it.

The likeliest token in each test text's one mask is the answer, after the training and before it.
"""

from __future__ import annotations

from typing import Any

import torch
from plain_training import PlainTraining
from quality_job import Job, parse_options, write_answers
from transformers import AutoModelForMaskedLM, AutoTokenizer, DataCollatorForLanguageModeling, set_seed

BATCH = 64


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    network = AutoModelForMaskedLM.from_pretrained(job.base, dtype=torch.float32)
    data = {}
    for split in ("train", "validation"):
        texts = [row["text"] for row in job.rows(split)]
        data[split] = dict(
            tokenizer(texts, truncation=True, max_length=job.max_length, return_special_tokens_mask=True)
        )
    test = [row["masked"] for row in job.rows("test")]
    before = _fill(job, tokenizer, network.to(job.device), test)
    set_seed(options.seed)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    training = PlainTraining(job, options, network, data, collator)
    training.run()
    write_answers(options.scratch, _fill(job, tokenizer, network, test), training.seconds, before=before)


def _fill(job: Job, tokenizer: Any, network: Any, texts: list[str]) -> list[str]:
    network.eval()
    answers: list[str] = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH], padding=True, truncation=True, max_length=job.max_length, return_tensors="pt"
        ).to(network.device)
        with torch.inference_mode():
            logits = network(**batch).logits
            logits[..., tokenizer.all_special_ids] = -torch.inf
        for ids, scores in zip(batch["input_ids"], logits, strict=True):
            places = (ids == tokenizer.mask_token_id).nonzero()
            best = [int(scores[places[0, 0]].argmax())] if len(places) else []
            answers.append(tokenizer.decode(best).strip())
    return answers


main()
