"""Plain zero-shot classification: transformers' pipeline on an entailment model, or the cosine of mean embeddings.

The entailment model is the one that this project has trained for the same line and seed: what is compared is how the
labels are scored, not the training.
"""

from __future__ import annotations

from typing import Any

import torch
from quality_job import Job, parse_options, write_answers
from transformers import AutoModel, AutoTokenizer, pipeline

BATCH = 64


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    texts = [row["text"] for row in job.rows("test")]
    template = job.task["template"]
    answers = _by_entailment(job, texts, template, options.seed) if job.nli else _by_embeddings(job, texts, template)
    write_answers(options.scratch, answers, 0.0)


def _by_entailment(job: Job, texts: list[str], template: str, seed: int) -> list[str]:
    device = 0 if job.device == "cuda" else -1
    judge = pipeline("zero-shot-classification", model=str(job.nli_model(seed)), device=device)
    found = judge(texts, candidate_labels=list(job.labels), hypothesis_template=template, batch_size=BATCH)
    return [item["labels"][0] for item in found]


def _by_embeddings(job: Job, texts: list[str], template: str) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    network = AutoModel.from_pretrained(job.base, dtype=torch.float32).to(job.device).eval()
    prefix = job.task.get("prefix", "")
    prompts = [prefix + template.format(label) for label in job.labels]
    labels = _embed(job, tokenizer, network, prompts)
    best = (_embed(job, tokenizer, network, [prefix + text for text in texts]) @ labels.T).argmax(dim=-1)
    return [job.labels[index] for index in best.tolist()]


def _embed(job: Job, tokenizer: Any, network: Any, texts: list[str]) -> torch.Tensor:
    """Mean of the last layer's tokens, of length one."""
    found = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH], padding=True, truncation=True, max_length=job.max_length, return_tensors="pt"
        ).to(network.device)
        with torch.inference_mode():
            states = network(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        found.append(torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1))
    return torch.cat(found)


main()
