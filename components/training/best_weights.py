"""The best weights so far, kept in memory and with every checkpoint, and when to stop waiting for better ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.digests import canonical

BEST_WEIGHTS = "best.safetensors"
STATE = "best.json"


class BestWeights:
    """What the evaluation with the best validation score left.

    Args:
        network: whose weights are kept.
        patience: evaluations without a better score after which training stops; None never stops.
    """

    def __init__(self, network: Any, patience: int | None) -> None:
        self.network = network
        self.patience = patience
        self.score = -float("inf")
        self.epoch = 0.0
        self.waited = 0
        self.weights: dict[str, Any] = {}

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.patience is not None and self.waited >= self.patience

    def offer(self, score: float, epoch: float) -> None:
        """Keep the network's present weights if their score is better than all before."""
        if score > self.score:
            self.score, self.epoch, self.waited = score, epoch, 0
            self.weights = {name: value.detach().cpu().clone() for name, value in self._learning().items()}
        else:
            self.waited += 1

    def restore(self) -> None:
        """Put the best weights back into the network."""
        import torch

        with torch.no_grad():
            for name, value in self._learning().items():
                value.copy_(self.weights[name])

    def save(self, checkpoint: Path) -> None:
        """Write the best weights and the score into a checkpoint."""
        from safetensors.torch import save_file

        save_file(self.weights, checkpoint / BEST_WEIGHTS)
        state = {"score": self.score, "epoch": self.epoch, "waited": self.waited}
        (checkpoint / STATE).write_text(canonical(state), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Take up what `save` has written."""
        from safetensors.torch import load_file

        self.weights = load_file(checkpoint / BEST_WEIGHTS)
        state = json.loads((checkpoint / STATE).read_bytes())
        self.score, self.epoch, self.waited = state["score"], state["epoch"], state["waited"]

    def _learning(self) -> dict[str, Any]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}
