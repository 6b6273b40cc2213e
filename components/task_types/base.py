"""What a task type is: the one place where a kind of model differs from the others.

Each type is one file in this folder with a class that satisfies `TaskType` and one instance named `TASK_TYPE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.config import Columns, Training

if TYPE_CHECKING:
    import torch

Row = Mapping[str, str]  # by the names of the project: text, text_pair, label
Features = dict[str, list[int]]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one row: the best label, its score, and the score of every label in manifest order."""

    label: str
    score: float
    scores: tuple[float, ...]


class TaskType(Protocol):
    """The parts that differ by task type. `scores` are arrays (rows, labels)."""

    name: str

    def columns(self, columns: Columns) -> Mapping[str, str]:
        """Data columns that are needed: the project's name for each to the name in the user's file."""

    def build_network(self, base: Path, labels: Sequence[str]) -> Any:
        """A float32 network with the weights of `base` and a new head for `labels`."""

    def load_network(self, folder: Path) -> Any:
        """The float32 network of a model directory."""

    def encode(self, tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Features]:
        """Token ids of each row, cut to `max_length` tokens, not padded; the same in training and serving."""

    def targets(self, rows: Sequence[Row], labels: Sequence[str]) -> list[int]:
        """What the network should answer for each row, as the Trainer wants it."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any) -> torch.Tensor:
        """Mean loss of a batch; `weights` is one weight a label, or None."""

    def probabilities(self, logits: NDArray[np.float32], temperature: float) -> Scores:
        """Calibrated scores (rows, labels) from logits (rows, labels)."""

    def log_loss(self, logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float) -> float:
        """Mean negative log-likelihood of the targets: what the temperature is fitted on."""

    def answers(self, scores: Scores, labels: Sequence[str]) -> list[Answer]:
        """What is said about each row."""

    def metrics(self, truth: Sequence[str], scores: Scores, labels: Sequence[str]) -> dict[str, float]:
        """Single numbers over all rows; every name in `Evaluation.metric` is among them."""
