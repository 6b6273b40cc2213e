"""The network of fill_mask: transformers' own language modelling head, tied to the embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import BaseModelError
from components.sequences.sequence_network import SAFE


def build_mask_network(base: Path) -> Any:
    """A float32 network with the weights of `base`; the parts of its head that `base` lacks are new.

    Raises:
        BaseModelError: the tokenizer has no mask, or gives no attention mask.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    if tokenizer.mask_token_id is None or "attention_mask" not in tokenizer.model_input_names:
        lack = "no mask token" if tokenizer.mask_token_id is None else "no attention mask"
        raise BaseModelError(f"The tokenizer in {base} has {lack}.", "name a masked language model such as BERT.")
    network = load_mask_network(base)
    network.config.mask_token_id = tokenizer.mask_token_id  # kept in config.json: the network hides tokens by itself
    return network


def load_mask_network(folder: Path) -> Any:
    """The float32 network of a model directory."""
    import torch
    from transformers import AutoModelForMaskedLM

    return AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32, **SAFE)
