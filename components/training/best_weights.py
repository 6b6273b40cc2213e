"""The best weights so far, kept in memory and with every checkpoint, and when to stop waiting for better ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from components.digests import canonical

BEST_WEIGHTS = "best.safetensors"
STATE = "best.json"


class BestWeights:
    """What the evaluation with the best validation score left; of scores that are equal but for chance, a lower loss.

    Few validation rows cannot tell 83 % from 82 %: an evaluation within one standard error of the highest score (the
    rule of Breiman et al. 1984, 3.4.3) is taken as well, if its loss is lower than that of the one before. And a rare
    thing, such as an entity, is found only after some epochs: until then the score stays at 0, and that the loss falls
    is what tells learning from its end.

    Args:
        network: whose weights are kept.
        rows: behind each score.
        patience: evaluations without a better one after which training stops; None never stops.
    """

    def __init__(self, network: Any, rows: int, patience: int | None) -> None:
        self.network = network
        self.rows, self.patience = rows, patience
        self.highest, self.loss = -math.inf, math.inf
        self.epoch = 0.0
        self.waited = 0
        self.weights: dict[str, Any] = {}

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.patience is not None and self.waited >= self.patience

    def offer(self, score: float, loss: float, epoch: float) -> None:
        """Keep the network's present weights if they are better than those that are kept."""
        if score > self.highest or (score >= self.highest - self._standard_error() and loss < self.loss):
            self.highest, self.loss, self.epoch, self.waited = max(score, self.highest), loss, epoch, 0
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
        state = {"highest": self.highest, "loss": self.loss, "epoch": self.epoch, "waited": self.waited}
        (checkpoint / STATE).write_text(canonical(state), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Take up what `save` has written."""
        from safetensors.torch import load_file

        self.weights = load_file(checkpoint / BEST_WEIGHTS)
        state = json.loads((checkpoint / STATE).read_bytes())
        self.highest, self.loss = state["highest"], state["loss"]
        self.epoch, self.waited = state["epoch"], state["waited"]

    def _standard_error(self) -> float:
        """Of the highest score, as that of a share; for others, such as F1, it is about right."""
        share = min(max(self.highest, 0.0), 1.0)
        return math.sqrt(share * (1 - share) / self.rows)

    def _learning(self) -> dict[str, Any]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}
