"""How much of what the machine can do a training does: its arithmetic a token, and the measured rate of a product."""

from __future__ import annotations

import time
from typing import Any

FLOPS = 2  # a multiplication and an addition
PASSES = 3  # forward, and twice as much backward
SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices that are multiplied
REPEATS = 8
HIDDEN_SHARE = 0.15


def flops_per_token(settings: Any, length: float, hidden_share: float = HIDDEN_SHARE) -> float:
    """Arithmetic of a training step for one token: matrix products only, forward and backward.

    Args:
        settings: a BertConfig or its kind.
        length: mean tokens of a sequence, over which each token attends.
        hidden_share: share of the tokens that the language modelling head works on.
    """
    width = settings.hidden_size
    inner = getattr(settings, "intermediate_size", 4 * width)
    layer = FLOPS * (4 * width * width + 2 * width * inner) + 2 * FLOPS * length * width
    head = FLOPS * hidden_share * (width * width + width * settings.vocab_size)
    return float(PASSES * (settings.num_hidden_layers * layer + head))


def matrix_rate(device: str, precision: str) -> float:
    """Operations a second of a large matrix product in the precision of the training: the best of a few."""
    import torch

    number = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    side = SIDE[device]
    a = torch.randn(side, side, device=device).to(number)
    a @ a  # memory and threads are there afterwards
    best = 0.0
    for _ in range(REPEATS):
        _wait(device)
        began = time.perf_counter()
        a @ a
        _wait(device)
        best = max(best, FLOPS * side**3 / (time.perf_counter() - began))
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
