"""The network that is pretrained: BERT with both heads, or any masked language model, and its losses as sums.

The language modelling head, a product with the whole vocabulary, gets the states of the hidden tokens only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.masks.mask_guessing import only_at
from components.models.base_models import WEIGHTS
from components.pretraining_config import PretrainingConfig
from components.records import BaseModel
from components.sequences.sequence_network import SAFE

# What a forward pass counts, in this order: sums over hidden tokens, then over pairs.
SUMS = ("mlm_loss", "mlm_right", "mlm_tokens", "nsp_loss", "nsp_right", "pairs")


class PretrainingNetwork(nn.Module):
    """A network of transformers with the losses of pretraining.

    Args:
        network: a BertForPreTraining, or a masked language model where `next_sentence` is false.
    """

    def __init__(self, network: Any, next_sentence: bool) -> None:
        super().__init__()
        self.network = network
        self.next_sentence = next_sentence

    def forward(
        self, labels: torch.Tensor, next_sentence_label: torch.Tensor | None = None, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """The sums of `SUMS`, float32 (6,); the two losses carry gradients.

        Args:
            labels: (sequences, tokens), the hidden tokens' ids, -100 elsewhere.
            next_sentence_label: (sequences,), 1 where the second segment is random.
            inputs: what the network reads.
        """
        hidden = (labels != -100).flatten().nonzero()[:, 0]
        with only_at(self.network, hidden):
            outputs = self.network(**inputs)
        logits = (outputs.prediction_logits if self.next_sentence else outputs.logits)[0].float()
        masked = _sums(logits, labels.flatten()[hidden])
        if not self.next_sentence or next_sentence_label is None:
            return torch.cat([masked, masked.new_zeros(3)])
        return torch.cat([masked, _sums(outputs.seq_relationship_logits.float(), next_sentence_label)])


def _sums(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    loss = nn.functional.cross_entropy(logits, truths, reduction="sum")
    right = (logits.argmax(dim=-1) == truths).sum()
    return torch.stack([loss, right.float(), loss.new_tensor(len(truths))])


def losses_of(sums: torch.Tensor, tokens: Any, pairs: Any) -> torch.Tensor:
    """The mean loss of the hidden tokens plus the mean loss of the pairs."""
    loss: torch.Tensor = sums[0] / tokens
    return loss + sums[3] / pairs if pairs else loss


def build_network(config: PretrainingConfig, base: BaseModel, start: Path | None) -> Any:
    """The float32 network that a phase starts with.

    Args:
        base: a base model, or the tokenizer and configuration of one from scratch.
        start: model directory of the phase before, or None for the first.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM, BertForPreTraining

    kind = BertForPreTraining if config.examples.next_sentence else AutoModelForMaskedLM
    folder = start or base.folder
    own = dict(config.model.config) if config.model.base is not None else {}
    if start is not None or (folder / WEIGHTS).is_file() or config.model.base is not None:
        return kind.from_pretrained(folder, dtype=torch.float32, **own, **SAFE)
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return kind(settings) if kind is BertForPreTraining else kind.from_config(settings)
