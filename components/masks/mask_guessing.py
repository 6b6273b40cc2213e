"""What a masked language model holds for likely in the marked places: a batch of `mask_windows` in, numbers out.

The head, most of whose work is a product with the whole vocabulary, gets the states of those places only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from components.masks.mask_windows import ASKED, GUESSED

MOST_CANDIDATES = 100  # tokens that are named for a mask
MOST_GUESSES = 256  # at a time: with 30,000 tokens 30 MB of logits
MOST_WINDOWS = 64  # at a time

Inputs = Mapping[str, torch.Tensor]
Place = tuple[int, list[int]]  # a window of the batch, and what is guessed in it at once


def logits_at(network: Any, inputs: Inputs, places: torch.Tensor) -> torch.Tensor:
    """Logits (places, vocabulary) of a masked language model.

    Whatever the architecture calls its head, it gets what the encoder returns; so that is narrowed on its way.

    Args:
        places: bool (windows, tokens).
    """

    def narrow(_module: Any, _arguments: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][places][None]  # (1, places, width)
        return output

    hook = network.base_model.register_forward_hook(narrow)
    try:
        logits: torch.Tensor = network(**inputs).logits
    finally:
        hook.remove()
    return logits[0]


def likelihoods(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Log-probability of each true token, and how many tokens are likelier: (places, 2)."""
    scores = logits.float().log_softmax(dim=-1)
    own = scores.gather(1, truths[:, None])
    return torch.cat([own, (scores > own).sum(dim=1, keepdim=True).float()], dim=1)


def guess(network: Any, inputs: Inputs) -> list[NDArray[np.float32]]:
    """What is found in the marked places of each window.

    A mask of the text is filled, all of a window at once: (masks, candidates + candidates + asked words) with the ids
    of the likeliest tokens, their log-probabilities, and those of the words that are asked for. Any other token is
    hidden by itself, the rest of its text in sight: (tokens, 2) as `likelihoods` gives them.

    Source: Salazar et al., Masked Language Model Scoring, ACL 2020.
    """
    ids, marks = inputs["input_ids"], inputs["attention_mask"]
    fills = ((marks == GUESSED) & (ids == network.config.mask_token_id)).any(dim=1).tolist()
    found: list[list[torch.Tensor]] = [[] for _ in fills]
    for part in _parts(marks, fills):
        logits = _logits_of(network, inputs, part)
        lines = torch.split(logits, [len(places) for _, places in part])
        for (window, places), own in zip(part, lines, strict=True):
            asked = ids[window][marks[window] == ASKED]
            found[window].append(_candidates(own, asked) if fills[window] else likelihoods(own, ids[window, places]))
    empty = np.empty((0, 2), np.float32)
    return [torch.cat(own).cpu().numpy() if own else empty for own in found]


def _parts(marks: torch.Tensor, fills: Sequence[bool]) -> Iterator[list[Place]]:
    """What is guessed together, as much as fits."""
    part: list[Place] = []
    guesses = 0
    for window, fill in enumerate(fills):
        places = (marks[window] == GUESSED).nonzero()[:, 0].tolist()
        for own in [places] if fill else [[place] for place in places]:
            if part and (guesses + len(own) > MOST_GUESSES or len(part) == MOST_WINDOWS):
                yield part
                part, guesses = [], 0
            part.append((window, own))
            guesses += len(own)
    if part:
        yield part


def _logits_of(network: Any, inputs: Inputs, part: Sequence[Place]) -> torch.Tensor:
    windows = torch.tensor([window for window, _ in part], device=inputs["input_ids"].device)
    read = inputs["attention_mask"][windows] > 0
    columns = read.any(dim=0)  # the words asked for and the padding behind them are not for the network
    own = {name: values[windows][:, columns] for name, values in inputs.items()}
    guessed = torch.zeros_like(read)
    for line, (_, places) in enumerate(part):
        guessed[line, places] = True
    guessed = guessed[:, columns]
    own["input_ids"] = own["input_ids"].masked_fill(guessed, network.config.mask_token_id)
    own["attention_mask"] = read[:, columns].long()
    return logits_at(network, own, guessed)


def _candidates(logits: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    scores = logits.float().log_softmax(dim=-1)
    best = scores.topk(min(MOST_CANDIDATES, scores.shape[1]), dim=1)
    return torch.cat([best.indices.float(), best.values, scores[:, asked]], dim=1)
