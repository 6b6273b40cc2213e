"""Word embeddings of only the tokens that occur, while a network is trained.

The embedding matrix is half of a small encoder's weights, and a data set uses a tenth of its rows. The others have no
gradient: AdamW does nothing to them but decay. So the optimiser is given the rows that occur and one more, the witness,
a row of ones that decays as they do; at the end every row that does not occur is multiplied by it. The result is what
training the whole matrix would have given, but for the rounding of the decay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class TrimmedEmbedding(nn.Module):
    """An embedding that holds the rows in `used`, and their witness as its last row."""

    def __init__(self, whole: nn.Embedding, used: NDArray[np.int64]) -> None:
        super().__init__()
        self.whole = [whole]  # in a list, so that its weights are no part of this module
        self.used = torch.from_numpy(used)
        places = torch.zeros(whole.num_embeddings, dtype=torch.long)
        places[self.used] = torch.arange(len(used))
        self.places = nn.Buffer(places, persistent=False)  # (vocabulary,)
        witness = torch.ones(1, whole.embedding_dim)
        rows = torch.cat([whole.weight.detach()[self.used], witness])
        self.weight = nn.Parameter(rows, requires_grad=whole.weight.requires_grad)  # (used + 1, width)
        self.padding = None if whole.padding_idx is None else int(places[whole.padding_idx])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(self.places[ids], self.weight, self.padding)

    def restored(self) -> nn.Embedding:
        """The whole embedding with what was learned."""
        whole = self.whole[0]
        with torch.no_grad():
            learned = self.weight.detach().cpu()
            weight = whole.weight.detach().cpu() * learned[-1]
            weight[self.used] = learned[:-1]
            whole.weight.copy_(weight)
        return whole.to(self.weight.device)


def trim_embeddings(network: Any, token_ids: Iterable[NDArray[Any]], always: Iterable[int]) -> bool:
    """Trim a network's word embeddings to the ids that occur; whether that was possible.

    Args:
        network: a transformers model.
        token_ids: arrays of all ids that it is going to see.
        always: ids that are kept in any case, such as the padding.
    """
    whole = network.get_input_embeddings()
    if type(whole) is not nn.Embedding or network.get_output_embeddings() is not None:
        return False  # the rows are also the output layer's, and all of them learn
    occurs = np.zeros(whole.num_embeddings, dtype=bool)
    occurs[list(always)] = True
    for ids in token_ids:
        occurs[ids] = True
    network.set_input_embeddings(TrimmedEmbedding(whole, np.flatnonzero(occurs)))
    return True


def restore_embeddings(network: Any) -> None:
    """Give a network its whole word embeddings back."""
    trimmed = network.get_input_embeddings()
    if isinstance(trimmed, TrimmedEmbedding):
        network.set_input_embeddings(trimmed.restored())
