"""The networks of zero-shot classification: a classifier of sentence pairs that knows entailment, or a bare encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import BaseModelError
from components.sequences.sequence_network import SAFE, load_sequence_network

ENTAILMENT = ("entailment", "entails", "entailed", "蕴含", "蘊含", "蕴涵")
CONTRADICTION = ("contradiction", "contradicts", "contradictory", "矛盾")


def find_source(base: Path, wanted: str) -> str:
    """Whether a base model is asked by entailment ("nli") or by its embeddings.

    Args:
        wanted: nli, embeddings, or auto for the first of them that the model is fit for.

    Raises:
        BaseModelError: nli is wanted of a model that has not learned it.
    """
    config = json.loads((base / "config.json").read_bytes())
    classifies = any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ())
    able = classifies and entailment_columns(config.get("id2label") or {}) is not None
    if wanted == "nli" and not able:
        raise BaseModelError(
            f"The model in {base} has no label 'entailment'.",
            "name a model of sentence pairs that has learned entailment, or set task.source to embeddings.",
        )
    return wanted if wanted != "auto" else "nli" if able else "embeddings"


def entailment_columns(names: Mapping[Any, str]) -> tuple[int, int] | None:
    """The outputs for entailment and for its contrary: contradiction, or of two labels the other one."""
    found = {int(column): str(name).strip().lower() for column, name in names.items()}
    yes = [column for column, name in found.items() if name in ENTAILMENT]
    no = [column for column, name in found.items() if name in CONTRADICTION]
    if len(found) == 2 and yes:
        no = [column for column in found if column not in yes]
    return (yes[0], no[0]) if yes and no else None


def load_prompt_network(folder: Path, source: str) -> Any:
    """The float32 network of a base model or of a model directory."""
    import torch
    from transformers import AutoModel

    if source == "nli":
        return load_sequence_network(folder)
    return AutoModel.from_pretrained(folder, dtype=torch.float32, **SAFE)


def read_windows(network: Any, inputs: Mapping[str, Any]) -> Any:
    """Logits of entailment and contradiction (windows, 2), or the mean of the tokens' states (windows, width)."""
    outputs = network(**inputs)
    columns = entailment_columns(network.config.id2label)
    if "logits" in outputs and columns is not None:
        return outputs.logits[:, list(columns)]
    states, mask = outputs.last_hidden_state, inputs["attention_mask"][..., None]  # (windows, tokens, width)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)
