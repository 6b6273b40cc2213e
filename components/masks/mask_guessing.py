"""What a masked language model holds for likely in the marked places: a batch of `mask_windows` in, numbers out.

The head, most of whose work is a product with the whole vocabulary, gets the states of those places only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.masks.mask_windows import ASKED, GUESSED
from components.models.calibration import log_softmax
from components.task_types.base import Arrays, Run

if TYPE_CHECKING:
    import torch

PLACES = "places"  # what the network gets beside its own inputs: which of the batch's tokens, counted through, to guess
MOST_CANDIDATES = 100  # tokens that are named for a mask
MOST_GUESSES = 256  # at a time: with 30,000 tokens 30 MB of logits
MOST_WINDOWS = 64  # at a time

Place = tuple[int, list[int]]  # a window of the batch, and what is guessed in it at once
Logits = NDArray[np.float32]


def logits_at(network: Any, inputs: Mapping[str, torch.Tensor], places: torch.Tensor) -> torch.Tensor:
    """Logits (places, vocabulary) of a masked language model.

    Args:
        places: numbers of tokens, counted through all windows (places,).
    """
    with only_at(network, places):
        logits: torch.Tensor = network(**inputs).logits
    return logits.flatten(0, 1)  # [0] is lost when the traced graph is quantised


@contextmanager
def only_at(network: Any, places: torch.Tensor) -> Iterator[None]:
    """Within it the head of a network works on the states of some tokens only, as if of one line (1, places, width).

    Whatever the architecture calls its head, it gets what the encoder returns; so that is narrowed on its way.

    Args:
        places: numbers of tokens, counted through all windows (places,).
    """

    def narrow(_module: Any, _arguments: Any, output: Any) -> Any:
        states = output["last_hidden_state"]
        output["last_hidden_state"] = states.reshape(-1, states.shape[-1])[places][None]
        return output

    hook = network.base_model.register_forward_hook(narrow)
    try:
        yield
    finally:
        hook.remove()


def likelihoods_in_training(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """What `likelihoods` gives, computed where the logits are."""
    import torch

    scores = logits.float().log_softmax(dim=-1)
    own = scores.gather(1, truths[:, None])
    return torch.cat([own, (scores > own).sum(dim=1, keepdim=True).float()], dim=1)


def likelihoods(logits: Logits, truths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-probability of each true token, and how many tokens are likelier: (places, 2)."""
    scores = log_softmax(logits)
    own = scores[np.arange(len(truths)), truths][:, None]
    return np.concatenate([own, (scores > own).sum(axis=1, keepdims=True)], axis=1, dtype=np.float32)


def guess(run: Run, inputs: Arrays, mask_id: int) -> list[NDArray[np.float32]]:
    """What is found in the marked places of each window.

    A mask of the text is filled, all of a window at once: (masks, candidates + candidates + asked words) with the ids
    of the likeliest tokens, their log-probabilities, and those of the words that are asked for. Any other token is
    hidden by itself, the rest of its text in sight: (tokens, 2) as `likelihoods` gives them.

    Source: Salazar et al., Masked Language Model Scoring, ACL 2020.
    """
    ids, marks = inputs["input_ids"], inputs["attention_mask"]
    fills = ((marks == GUESSED) & (ids == mask_id)).any(axis=1).tolist()
    found: list[list[NDArray[np.float32]]] = [[] for _ in fills]
    for part in _parts(marks, fills):
        logits = run(_asked(inputs, part, mask_id))
        lines = np.split(logits, np.cumsum([len(places) for _, places in part])[:-1])
        for (window, places), own in zip(part, lines, strict=True):
            asked = ids[window][marks[window] == ASKED]
            found[window].append(_candidates(own, asked) if fills[window] else likelihoods(own, ids[window, places]))
    return [np.concatenate(own) if own else np.empty((0, 2), np.float32) for own in found]


def _parts(marks: NDArray[np.int64], fills: Sequence[bool]) -> Iterator[list[Place]]:
    """What is guessed together, as much as fits."""
    part: list[Place] = []
    guesses = 0
    for window, fill in enumerate(fills):
        places = np.flatnonzero(marks[window] == GUESSED).tolist()
        for own in [places] if fill else [[place] for place in places]:
            if part and (guesses + len(own) > MOST_GUESSES or len(part) == MOST_WINDOWS):
                yield part
                part, guesses = [], 0
            part.append((window, own))
            guesses += len(own)
    if part:
        yield part


def _asked(inputs: Arrays, part: Sequence[Place], mask_id: int) -> dict[str, NDArray[np.int64]]:
    """The batch of a part, its guessed tokens hidden and named as `places`."""
    windows = np.array([window for window, _ in part])
    read = inputs["attention_mask"][windows] > 0
    columns = read.any(axis=0)  # the words asked for and the padding behind them are not for the network
    own = {name: values[windows][:, columns] for name, values in inputs.items()}
    guessed = np.zeros_like(read)
    for line, (_, places) in enumerate(part):
        guessed[line, places] = True
    guessed = guessed[:, columns]
    own["input_ids"] = np.where(guessed, mask_id, own["input_ids"])
    own["attention_mask"] = read[:, columns].astype(np.int64)
    own[PLACES] = np.flatnonzero(guessed)
    return own


def _candidates(logits: Logits, asked: NDArray[np.int64]) -> NDArray[np.float32]:
    scores = log_softmax(logits)
    count = min(MOST_CANDIDATES, scores.shape[1])
    some = np.argpartition(scores, -count, axis=1)[:, -count:]  # (masks, candidates), in no order
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(some, order, axis=1)
    return np.concatenate([best, np.take_along_axis(scores, best, axis=1), scores[:, asked]], axis=1, dtype=np.float32)
