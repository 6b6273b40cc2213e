"""The network that tags: a linear layer on every token, and a CRF behind it where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.entities.tags import tag_names
from components.entities.unit_emissions import BEGINS, BEGINS_AND_ENDS, ENDS, IGNORED
from components.sequences.sequence_network import SAFE

if TYPE_CHECKING:
    import torch


def build_token_network(base: Path, labels: Sequence[str], *, with_crf: bool) -> Any:
    """A float32 network with the weights of `base` and a new linear layer, one output for each tag."""
    import torch
    from transformers import AutoModelForTokenClassification

    from components.entities.crf import Crf

    tags = tag_names(labels)
    network = AutoModelForTokenClassification.from_pretrained(
        base,
        num_labels=len(tags),
        id2label=dict(enumerate(tags)),
        label2id={tag: index for index, tag in enumerate(tags)},
        dtype=torch.float32,
        **SAFE,
    )
    if with_crf:
        network.crf = Crf(len(labels))
    return network


def load_token_network(folder: Path, labels: Sequence[str], *, with_crf: bool) -> Any:
    """The float32 network of a model directory."""
    import torch
    from transformers import AutoModelForTokenClassification

    from components.entities.crf import load_crf

    network = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32, **SAFE)
    if with_crf:
        load_crf(network, folder, len(labels))
    return network


def token_scores(network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Scores (windows, tokens, tags); a CRF's moves stand as lines before the first token, since answers need them."""
    import torch

    scores: torch.Tensor = network(**inputs).logits
    if not hasattr(network, "crf"):
        return scores
    return torch.cat([network.crf.moves().expand(scores.shape[0], -1, -1), scores.float()], dim=1)


def tag_loss(outputs: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean cross-entropy of the units (outputs without a CRF)."""
    from torch.nn.functional import cross_entropy

    known = targets.where(targets >= 0, IGNORED)
    total = cross_entropy(
        outputs.float().transpose(1, 2), known, reduction="sum", label_smoothing=smoothing, ignore_index=IGNORED
    )
    return total / (known >= 0).sum().clamp(min=1)


def crf_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the units' tags, each window's as one sequence."""
    import torch

    from components.entities.crf import mean_loss

    header = outputs.shape[1] - targets.shape[1]
    moves, scores = outputs[0, :header].float(), outputs[:, header:].float()
    known = targets >= 0
    longest = int(known.sum(dim=1).max())
    order = torch.argsort((~known).int(), dim=1, stable=True)[:, :longest]  # the units' tokens come first
    border = targets[:, 0]
    return mean_loss(
        moves,
        scores.gather(1, order[:, :, None].expand(-1, -1, scores.shape[2])),
        targets.gather(1, order),
        (border == BEGINS_AND_ENDS) | (border == BEGINS),
        (border == BEGINS_AND_ENDS) | (border == ENDS),
    )
