"""A linear-chain CRF over a network's tags: scores of moves that are learned with it. Imports torch: import it late.

Moves that no legal sequence makes (O to I-x, B-x to I-y, I-x to I-y, a text that begins with I-x) are
barred, not learned.

Source: Lafferty, McCallum and Pereira, Conditional random fields, ICML 2001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

BARRED = -10_000.0  # no score of a legal sequence comes near it, and float32 adds it without harm
# Adam moves a parameter by about the learning rate a step, whatever its gradient: with a fine-tuning's 5e-5, scores of
# moves would stay near zero. They are this many times the parameters, so they learn as if at this many times the rate.
SCALE = 100.0


class Crf(nn.Module):
    """Scores of moves between the tags O, B-x, I-x, ….

    Args:
        labels: how many labels there are.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        tags = 1 + 2 * labels
        self.weight = nn.Parameter(torch.zeros(tags + 2, tags))
        self.scale = nn.Buffer(torch.tensor(SCALE))
        self.barred = nn.Buffer(barred_moves(labels), persistent=False)

    def moves(self) -> torch.Tensor:
        """Scores (tags + 2, tags): from each tag to each, then of the first tag of a text, then of its last."""
        return self.weight.float() * self.scale + self.barred


def barred_moves(labels: int) -> torch.Tensor:
    """BARRED where `Crf.moves` must not go, else 0."""
    barred = torch.zeros(3 + 2 * labels, 1 + 2 * labels)
    for inside in range(2, 1 + 2 * labels, 2):
        barred[:-1, inside] = BARRED
        barred[[inside - 1, inside], inside] = 0.0
    return barred


def load_crf(network: Any, folder: Path, labels: int) -> None:
    """Give a network the CRF that was saved with it."""
    from safetensors import safe_open

    network.crf = Crf(labels)
    with safe_open(folder / "model.safetensors", "pt") as file:
        network.crf.load_state_dict({name: file.get_tensor(f"crf.{name}") for name in ("weight", "scale")})


def mean_loss(
    moves: torch.Tensor, scores: torch.Tensor, tags: torch.Tensor, begins: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    """Negative log-likelihood of tag sequences, a unit; 0 where there are no units.

    Args:
        moves: those of `Crf`.
        scores: of the tags of each unit, float32 (windows, units, tags).
        tags: the true ones (windows, units), negative behind the last unit of a window.
        begins: whether a window begins its text (windows,); if not, any tag may come first, at no cost.
        ends: whether it ends its text.
    """
    units = (tags >= 0).sum()
    some = tags[:, :1].ge(0).any(dim=1) if tags.shape[1] else torch.zeros_like(begins)
    if not bool(some.any()):
        return scores.sum() * 0.0
    scores, tags, begins, ends = scores[some], tags[some], begins[some], ends[some]
    start, end = moves[-2] * begins[:, None], moves[-1] * ends[:, None]  # (windows, tags)
    likelihood = _path_score(moves, scores, tags, start, end) - log_partition(moves, scores, tags >= 0, start, end)
    return -likelihood.sum() / units


def log_partition(
    moves: torch.Tensor, scores: torch.Tensor, mask: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """Log of the sum over all sequences of exp(score) (windows,), by the forward algorithm."""
    between = moves[:-2]
    total = start + scores[:, 0]
    for unit in range(1, scores.shape[1]):
        moved = torch.logsumexp(total[:, :, None] + between, dim=1) + scores[:, unit]
        total = torch.where(mask[:, unit, None], moved, total)
    return torch.logsumexp(total + end, dim=1)


def _path_score(
    moves: torch.Tensor, scores: torch.Tensor, tags: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """Score of the true sequence of each window (windows,)."""
    mask = tags >= 0
    known = tags.clamp(min=0)
    own = scores.gather(2, known[:, :, None])[:, :, 0] * mask
    between = moves[known[:, :-1], known[:, 1:]] * mask[:, 1:]
    last = known.gather(1, mask.sum(dim=1, keepdim=True) - 1)
    borders = start.gather(1, known[:, :1]) + end.gather(1, last)
    return own.sum(dim=1) + between.sum(dim=1) + borders[:, 0]
