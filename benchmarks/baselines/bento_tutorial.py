"""BentoML's tutorial service: a transformers pipeline behind a batchable API, one text a request.

    MODEL=FOLDER bentoml serve benchmarks/baselines/bento_tutorial.py:Classifier --port 8000

Tuned fairly: adaptive batching as the tutorial shows it, torch on all cores, access log off.
"""

from __future__ import annotations

import os

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Classifier:
    def __init__(self) -> None:
        import torch
        from transformers import pipeline

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.classify = pipeline("text-classification", model=os.environ["MODEL"], device="cpu")

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def predict(self, texts: list[str]) -> list[dict[str, object]]:
        return self.classify(texts, truncation=True, max_length=128, batch_size=len(texts))
