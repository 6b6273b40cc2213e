"""A network made ready to learn: what stays frozen, and what makes a step cheap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.config import Training

if TYPE_CHECKING:
    from components.training.fast_dropout import DropoutMasks
    from components.training.token_table import TokenTable


def freeze(network: Any, part: str) -> None:
    """Keep a part of the network as it is: `none`, `embeddings`, or `encoder` (embeddings and all layers).

    A pooler always learns, since some base models come without a trained one. What is frozen has no dropout.
    """
    parts = {name: child for name, child in network.base_model.named_children() if name != "pooler"}
    if part == "embeddings":
        parts["embeddings"].requires_grad_(False)
    if part == "encoder":
        for module in parts.values():
            module.requires_grad_(False)
            for dropout in (child for child in module.modules() if type(child).__name__ == "Dropout"):
                dropout.p = 0.0


def speed_up(
    network: Any, training: Training, device: str, tables: Mapping[str, TokenTable], always: Sequence[int]
) -> DropoutMasks | None:
    """Make the steps cheaper without changing what is learned; returns the masks of the fast dropout, if it is used.

    Args:
        always: token ids that are kept whether they occur or not.
    """
    from components.training.fast_dropout import use_fast_dropout
    from components.training.trimmed_embedding import trim_embeddings

    ids = [table.flat["input_ids"] for table in tables.values()]
    trim_embeddings(network, ids, always)
    # Checkpointed layers run twice, and must then get the masks that torch's generator repeats.
    if device == "cpu" and not training.gradient_checkpointing:
        return use_fast_dropout(network, training.seed)
    return None
