"""Masked language modelling: which tokens of a batch are hidden, drawn anew each time from a seed.

Source: Devlin et al., BERT, NAACL 2019: 15 % of the tokens, of those 80 % [MASK], 10 % a random token, 10 % unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15
MASKED, REPLACED = 0.8, 0.1  # of the chosen; the rest stay as they are
IGNORED = -100  # a target that no loss counts

Ids = NDArray[np.int64]


def draw_masks(ids: Ids, tokenizer: Any, seed: Sequence[int]) -> tuple[Ids, Ids]:
    """A batch with some tokens hidden, and the hidden tokens' ids in their places, -100 elsewhere.

    In each line 15 % of all tokens, at least one, are chosen; [CLS] and [SEP] count but are never chosen.

    Args:
        ids: (windows, tokens), padded.
        seed: the same seed hides the same tokens.
    """
    ordinary = _ordinary_ids(tokenizer)
    draw = np.random.default_rng(list(seed))
    chosen = _chosen(ids, tokenizer, draw)
    fate = draw.random(ids.shape)
    hidden = np.where(chosen & (fate < MASKED), tokenizer.mask_token_id, ids)
    random = ordinary[draw.integers(0, len(ordinary), ids.shape)]
    hidden = np.where(chosen & (fate >= 1 - REPLACED), random, hidden)
    return hidden, np.where(chosen, ids, IGNORED)


def _chosen(ids: Ids, tokenizer: Any, draw: np.random.Generator) -> NDArray[np.bool_]:
    eligible = ~np.isin(ids, tokenizer.all_special_ids)
    wanted = np.rint(SHARE * (ids != tokenizer.pad_token_id).sum(axis=1)).astype(np.int64)
    wanted = np.minimum(np.maximum(wanted, 1), eligible.sum(axis=1))
    order = np.where(eligible, draw.random(ids.shape), 2.0).argsort(axis=1)  # those that cannot be chosen come last
    rank = order.argsort(axis=1)
    chosen: NDArray[np.bool_] = rank < wanted[:, None]
    return chosen


@lru_cache(maxsize=4)
def _ordinary_ids(tokenizer: Any) -> Ids:
    """Every id but those of [CLS], [PAD] and their kind."""
    return np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
