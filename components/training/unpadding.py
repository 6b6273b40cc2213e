"""Layers that compute no padding: before the first, a padded batch becomes one line of tokens, and after the last a
padded batch again. Attention alone, which mixes the tokens of a text, gets the texts side by side.

Half of a random batch of short texts is padding. To take texts of similar length into one batch instead is the usual
way to save it, and costs accuracy where length says something about the label: on 1,200 rows of SST-2 two points.
Source: "unpadding" of MLPerf's BERT and of ModernBERT, there with attention kernels that a CPU does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a line stand in the padded batch.

    Args:
        places: (tokens,) in (texts x longest).
        mask: (texts, 1, 1, longest), added to the scores of attention.
    """

    places: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor) -> Layout:
        """From what is added to the scores (texts, 1, tokens, longest): 0 for a token, very little for padding."""
        own = mask[:, :, :1]
        return cls((own == 0).flatten().nonzero()[:, 0], own)

    def pad(self, line: torch.Tensor) -> torch.Tensor:
        """(tokens, ...) as (texts, longest, ...), with zeros for padding."""
        texts, longest = len(self.mask), self.mask.shape[-1]
        padded = line.new_zeros(texts * longest, *line.shape[1:]).index_copy(0, self.places, line)
        return padded.view(texts, longest, *line.shape[1:])

    def line_up(self, padded: torch.Tensor) -> torch.Tensor:
        """(texts, longest, ...) as (tokens, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)


class _Unpadded:
    """Put before a transformers class for the layers of an encoder."""

    def forward(
        self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **others: Any
    ) -> Any:
        layers = super().forward  # type: ignore[misc]
        if attention_mask is None or not self.training:
            return layers(hidden_states, attention_mask, **others)
        layout = Layout.of(attention_mask)
        outputs = layers(layout.line_up(hidden_states)[None], None, layout=layout, **others)
        outputs.last_hidden_state = layout.pad(outputs.last_hidden_state[0])
        return outputs


def skip_padding(network: Any) -> None:
    """Let the layers of a network's encoder compute no padding in training.

    Its attention must know what to do with a `layout`; see `fast_dropout`.
    """
    for child in network.base_model.children():
        if isinstance(getattr(child, "layer", None), nn.ModuleList):
            kind = type(child)
            child.__class__ = type(f"Unpadded{kind.__name__}", (_Unpadded, kind), {})
