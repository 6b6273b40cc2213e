"""The network of all types that answer with one vector a text: transformers' own head on its pooled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from components.sequences.pooling import CONFIG_KEY, pool_by_mean

SAFE = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
Problem = Literal["single_label_classification", "multi_label_classification", "regression"]


def build_sequence_network(base: Path, labels: Sequence[str], problem: Problem, pooling: str) -> Any:
    """A float32 network with the weights of `base` and a new linear layer, one output for each label."""
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type=problem,
        dtype=torch.float32,
        **SAFE,
    )
    return pool_by_mean(network) if pooling == "mean" else network


def load_sequence_network(folder: Path) -> Any:
    """The float32 network of a model directory."""
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **SAFE)
    return pool_by_mean(network) if getattr(network.config, CONFIG_KEY, "cls") == "mean" else network
