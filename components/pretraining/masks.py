"""Masked language modelling for pretraining: which tokens of a sequence are hidden, single ones or whole words.

What is drawn depends on the seed, the epoch and the sequence, not on the batch that it is read in.

Source: Devlin et al., BERT, NAACL 2019, and `create_masked_lm_predictions` of google-research/bert: 15 % of all tokens,
those of [CLS] and [SEP] counted but never chosen; of the chosen 80 % become [MASK], 10 % a random token, 10 % stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.masks.mask_drawing import IGNORED, MASKED, REPLACED
from components.pretraining.draws import uniform

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
PRIORITY, FATE, REPLACEMENT = range(100, 103)
LAST = 2.0  # behind every drawn priority


@dataclass(frozen=True, slots=True)
class MaskRule:
    """What is hidden, and by what.

    Args:
        share: of a sequence's tokens.
        mask: the id of [MASK].
        ordinary: ids that a hidden token may be replaced by.
        whole_words: choose all pieces of a word at once.
    """

    share: float
    mask: int
    ordinary: Ids
    whole_words: bool
    seed: int


def hide(
    ids: Ids, lengths: Ids, special: Flags, followers: Flags, sequences: Ids, epochs: Ids, rule: MaskRule
) -> tuple[Ids, Ids]:
    """A batch with tokens hidden, and the hidden tokens' ids in their places, -100 elsewhere.

    Args:
        ids: (sequences, tokens), padded.
        lengths: (sequences,) tokens without the padding.
        special: (sequences, tokens), true for tokens that are never chosen: [CLS], [SEP], padding and their kind.
        followers: (sequences, tokens), true for tokens that go on with the word before them.
        sequences: (sequences,) numbers of the sequences, part of what is drawn from.
        epochs: (sequences,) likewise; always 0 where masks are static.
    """
    counters = (np.asarray(epochs)[:, None], np.asarray(sequences)[:, None], np.arange(ids.shape[1]))
    wanted = np.maximum(np.rint(rule.share * lengths).astype(np.int64), 1)
    priority = uniform(rule.seed, PRIORITY, *counters)
    chosen = _words(priority, special, followers, wanted) if rule.whole_words else _tokens(priority, special, wanted)
    line, place = np.nonzero(chosen)
    own = (np.asarray(epochs)[line], np.asarray(sequences)[line], place)
    fate = uniform(rule.seed, FATE, *own)
    drawn = (uniform(rule.seed, REPLACEMENT, *own) * len(rule.ordinary)).astype(np.int64)
    truth = ids[line, place]
    hidden, truths = ids.copy(), np.full_like(ids, IGNORED)
    hidden[line, place] = np.select([fate < MASKED, fate >= 1 - REPLACED], [rule.mask, rule.ordinary[drawn]], truth)
    truths[line, place] = truth
    return hidden, truths


def _tokens(priority: NDArray[np.float64], special: Flags, wanted: Ids) -> Flags:
    """The tokens of the lowest priorities, as many as are wanted or can be had."""
    ranked = np.sort(np.where(special, LAST, priority), axis=1)
    last = np.minimum(wanted, ranked.shape[1]) - 1
    limit = ranked[np.arange(len(ranked)), last]
    chosen: Flags = ~special & (priority <= limit[:, None])
    return chosen


def _words(priority: NDArray[np.float64], special: Flags, followers: Flags, wanted: Ids) -> Flags:
    """The tokens of the words of the lowest priorities; one longer than what is still wanted is passed over."""
    lines, width = special.shape
    first = ~special & ~(followers & np.roll(~special, 1, axis=1))
    first[:, 0] = ~special[:, 0]
    # The word of each token: words of all lines are numbered through; tokens that cannot be chosen have none.
    word = np.where(special, -1, np.cumsum(first, axis=None).reshape(lines, width) - 1)
    sizes = np.bincount(word[~special], minlength=int(first.sum()))
    ranked = np.argsort(np.where(first, priority, LAST), axis=1, kind="stable")
    in_turn = np.take_along_axis(np.where(first, word, -1), ranked, axis=1)
    taken = np.zeros(len(sizes) + 1, bool)  # the last one stands for no word
    left = wanted.copy()
    for turn in range(width):
        own = in_turn[:, turn]
        fits = (own >= 0) & (sizes[own] <= left) if len(sizes) else np.zeros(lines, bool)
        taken[own[fits]] = True
        left[fits] -= sizes[own[fits]]
        if not ((left > 0) & (own >= 0)).any():
            break
    return np.where(word >= 0, taken[word], False)
