"""Dropout for training on a CPU: torch draws one number at a time there, which takes a fifth of a step.

The masks come from 16 random bits an element, drawn many at once. They depend on the seed, the step and the place in
the network alone, so that there is no generator whose state a checkpoint would have to hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from components.training.unpadding import Layout, skip_padding

NAME = "fast_dropout"
RESOLUTION = 1 << 16  # probabilities are rounded to a multiple of 1 / RESOLUTION


class DropoutMasks:
    """The random masks of a training.

    Args:
        seed: of the training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.step, self.part = -1, 0

    def start(self, step: int) -> None:
        """Begin a batch's masks; batches that are accumulated in one step come one after the other."""
        self.part = self.part + 1 if step == self.step else 0
        self.step = step
        self.bits = np.random.SFC64([self.seed, step, self.part])

    def drop(self, values: torch.Tensor, share: float) -> torch.Tensor:
        """The values with a share of them set to zero, and the others scaled up to the same mean."""
        count = values.numel()
        drawn = self.bits.random_raw(-(-count // 4)).view(np.uint16)[:count]
        limit = round(share * RESOLUTION)
        kept = torch.from_numpy(drawn >= limit).view(values.shape)
        return values * kept.to(values.dtype).mul_(RESOLUTION / (RESOLUTION - limit))


class FastDropout(nn.Module):
    """In place of `nn.Dropout`."""

    def __init__(self, p: float, masks: DropoutMasks) -> None:
        super().__init__()
        self.p = p
        self.masks = masks

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.masks.drop(values, self.p) if self.training and self.p > 0 else values


def use_fast_dropout(network: Any, seed: int) -> DropoutMasks:
    """Replace every dropout of a network, those of its attention as well; returns the masks to start at each step."""
    masks = DropoutMasks(seed)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, FastDropout(child.p, masks))
    if network.config._attn_implementation == "sdpa":
        ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, eager_mask)
        network.set_attn_implementation(NAME)
        skip_padding(network)
    return masks


def _side_by_side(line: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(1, heads, tokens, width) of all texts as (texts, heads, longest, width)."""
    return layout.pad(line[0].transpose(0, 1)).transpose(1, 2)


def _attention(
    module: Any,
    query: torch.Tensor,  # (batch, heads, tokens, width)
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # (batch, 1, tokens, tokens), added to the scores
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    if layout is not None:
        query, key, value = (_side_by_side(line, layout) for line in (query, key, value))
        mixed, _ = _attention(module, query, key, value, layout.mask, dropout, scaling, **options)
        return layout.line_up(mixed)[None], None
    own = getattr(module, "dropout", None)
    if dropout == 0 or not isinstance(own, FastDropout):
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        mixed, _ = sdpa(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options)
        return mixed, None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3))
    scores = scores * scaling if attention_mask is None else torch.add(attention_mask, scores, alpha=scaling)
    shares = own.masks.drop(torch.softmax(scores, dim=-1), dropout)
    return torch.matmul(shares, value).transpose(1, 2).contiguous(), None
