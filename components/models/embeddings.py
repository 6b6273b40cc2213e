"""Texts as vectors: a base model as it is, untrained for the task, read as the mean of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BATCH = 64


def embed_texts(
    base: Path, texts: Sequence[tuple[str, ...]], max_length: int, device: str = "cpu"
) -> NDArray[np.float32]:
    """Vectors of length one, (rows, width).

    Args:
        base: folder of the base model.
        texts: one text or a pair for each row; what is beyond the longest input is not read.
        max_length: tokens.
        device: cpu or cuda.
    """
    import torch
    from transformers import AutoTokenizer

    from components.prompts.prompt_network import load_prompt_network, read_windows

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    network = load_prompt_network(base, "embeddings").to(device).eval()
    order = sorted(range(len(texts)), key=lambda row: sum(map(len, texts[row])))
    found: NDArray[np.float32] = np.zeros((len(texts), network.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            columns = [list(column) for column in zip(*(texts[row] for row in batch), strict=True)]
            inputs = tokenizer(*columns, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
            found[batch] = read_windows(network, inputs.to(device)).float().cpu().numpy()
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    found /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return found
