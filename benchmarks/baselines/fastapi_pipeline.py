"""What most tutorials end with: FastAPI around a transformers pipeline, one text a request.

    MODEL=FOLDER PORT=8000 python benchmarks/baselines/fastapi_pipeline.py

Tuned fairly: the pipeline is loaded once, in float32 on all cores; the handler is a plain function, so that FastAPI
runs it in its thread pool; texts are cut at the model's length; no access log.
"""

from __future__ import annotations

import os

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

torch.set_num_threads(len(os.sched_getaffinity(0)))
classify = pipeline("text-classification", model=os.environ["MODEL"], device="cpu")
app = FastAPI()


class Request(BaseModel):
    text: str


@app.post("/predict")
def predict(request: Request) -> dict[str, object]:
    return classify(request.text, truncation=True, max_length=128)[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
