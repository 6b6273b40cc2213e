"""Masked language modelling: which tokens or whole words of a batch are hidden, drawn anew each time from a seed.

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
Flags = NDArray[np.bool_]


def draw_masks(
    ids: Ids, tokenizer: Any, seed: Sequence[int], *, begins: Flags | None = None, most: int | None = None
) -> tuple[Ids, Ids]:
    """A batch with some tokens hidden, and the hidden tokens' ids in their places, -100 elsewhere.

    In each line 15 % of all tokens, at least one, are chosen; [CLS] and [SEP] count but are never chosen. Words are
    drawn whole, and those that would be more than the 15 % are passed over: a line may end a few tokens below. One that
    has no word so short gets its shortest. What becomes of a chosen token is drawn for each by itself.

    Args:
        ids: (windows, tokens), padded.
        seed: the same seed hides the same tokens.
        begins: whether a token begins a word, as `mask_words.word_begins` says; None: each token is drawn by itself.
        most: tokens that are chosen in a line at most; None: no limit but the 15 %.

    Source: create_masked_lm_predictions of Google's create_pretraining_data.py, but for the shortest word.
    """
    ordinary = _ordinary_ids(tokenizer)
    draw = np.random.default_rng(list(seed))
    eligible = ~np.isin(ids, tokenizer.all_special_ids)
    wanted = np.rint(SHARE * (ids != tokenizer.pad_token_id).sum(axis=1)).astype(np.int64)
    wanted = np.minimum(np.clip(wanted, 1, most), eligible.sum(axis=1))
    chosen = _drawn(eligible, wanted, np.ones_like(eligible) if begins is None else begins, draw)
    fate = draw.random(ids.shape)
    hidden = np.where(chosen & (fate < MASKED), tokenizer.mask_token_id, ids)
    random = ordinary[draw.integers(0, len(ordinary), ids.shape)]
    hidden = np.where(chosen & (fate >= 1 - REPLACED), random, hidden)
    return hidden, np.where(chosen, ids, IGNORED)


def _drawn(eligible: Flags, wanted: Ids, begins: Flags, draw: np.random.Generator) -> Flags:
    """Words in a random order, each taken if it fits into what is still wanted of its line."""
    lines, tokens = eligible.shape
    begins = begins | ~eligible
    begins[:, 1:] |= ~eligible[:, :-1]
    word = np.maximum(begins.cumsum(axis=1) - 1, 0)  # (lines, tokens): the number of each token's word
    place = np.arange(lines)[:, None] * tokens + word
    sizes = np.bincount(place[eligible], minlength=lines * tokens).reshape(lines, tokens)  # 0: no word to be hidden
    order = np.where(sizes > 0, draw.random(sizes.shape), 2.0).argsort(axis=1)
    shortest = np.where(sizes > 0, sizes, tokens).min(axis=1, initial=tokens)
    room = np.where(wanted > 0, np.maximum(wanted, shortest), 0)
    taken = np.zeros_like(eligible)  # by the number of the word
    every = np.arange(lines)
    for rank in range((sizes > 0).sum(axis=1).max(initial=0)):
        own = order[:, rank]
        size = sizes[every, own]
        taken[every, own] = fits = (size > 0) & (size <= room)
        room -= size * fits
        if not room.any():
            break
    return np.take_along_axis(taken, word, axis=1) & eligible


@lru_cache(maxsize=4)
def _ordinary_ids(tokenizer: Any) -> Ids:
    """Every id but those of [CLS], [PAD] and their kind."""
    return np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
