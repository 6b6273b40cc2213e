"""What is said about a text with masks and about one without, from the numbers of `mask_guessing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError
from components.masks.mask_windows import Gaps
from components.task_types.base import Answer, Numbers, Statistic

CONTINUED = "##"  # WordPiece's sign of a piece that goes on the word before it
COUNTS = ("tokens", "top1", "top5", "log_likelihood")  # sums of a text that has been scored


def scored_answer(text: str, found: NDArray[np.float32]) -> Answer:
    """The sums of a text without masks.

    Args:
        found: (tokens, 2), as `likelihoods` gives them.
    """
    ranks = found[:, 1]
    return {
        "masks": [],
        "filled": text,
        "tokens": len(found),
        "top1": int((ranks < 1).sum()),
        "top5": int((ranks < 5).sum()),
        "log_likelihood": float(found[:, 0].sum(dtype=np.float64)),
    }


def filled_answer(gaps: Gaps, found: NDArray[np.float32]) -> Answer:
    """What stands in each mask of a text, and the text with the likeliest tokens.

    A word of several pieces fits where so many masks follow each other; its score is the product of its pieces'.

    Args:
        found: (masks, candidates + candidates + asked pieces).
    """
    asked = sum(len(pieces) for _, pieces in gaps.words)
    count = (found.shape[1] - asked) // 2
    ids, scores, pieces = found[:, :count].astype(int), found[:, count : 2 * count], found[:, 2 * count :]
    tops = [_named(gaps.tokenizer, *line) for line in zip(ids.tolist(), scores.tolist(), strict=True)]
    masks = [
        {"position": start, "top": top, "targets": _targets(gaps, pieces, place)}
        for place, ((start, _), top) in enumerate(zip(gaps.spans, tops, strict=False))
    ]
    best = [top[0]["token"] if top else None for top in tops]
    return {"masks": masks, "filled": _filled(gaps, best), **dict.fromkeys(COUNTS, 0)}


def _named(tokenizer: Any, ids: Sequence[int], scores: Sequence[float]) -> list[dict[str, Any]]:
    named = ((_token_text(tokenizer, number), score) for number, score in zip(ids, scores, strict=True))
    return [{"token": token, "score": exp(score)} for token, score in named if token is not None]


@lru_cache(maxsize=100_000)
def _token_text(tokenizer: Any, number: int) -> str | None:
    """A token as a person writes it; None for [SEP] and its kind, and for an id that stands for nothing."""
    piece: str | None = tokenizer.convert_ids_to_tokens(number) if number < len(tokenizer) else None
    if piece is None or number in tokenizer.all_special_ids:
        return None
    return piece if piece.startswith(CONTINUED) else str(tokenizer.decode([number])).strip() or piece


def _targets(gaps: Gaps, pieces: NDArray[np.float32], place: int) -> list[dict[str, Any]]:
    return [{"word": word, "score": _word_score(gaps, pieces, place, own)} for word, own in gaps.words]


def _word_score(gaps: Gaps, pieces: NDArray[np.float32], place: int, own: Sequence[int]) -> float | None:
    here = gaps.tokens[place : place + len(own)]
    if not own or here != tuple(range(gaps.tokens[place], gaps.tokens[place] + len(own))):
        return None
    return exp(sum(float(pieces[place + step, piece]) for step, piece in enumerate(own)))


def _filled(gaps: Gaps, best: Sequence[str | None]) -> str:
    text, done = "", 0
    for (start, end), token in zip(gaps.spans, best, strict=False):
        before, word = gaps.text[done:start], token or gaps.text[start:end]
        if word.startswith(CONTINUED):
            before, word = before.rstrip(), word.removeprefix(CONTINUED)
        text, done = text + before + word, end
    return text + gaps.text[done:]


def sums_of(counted: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracies and pseudo-perplexity over texts that have been scored.

    Raises:
        DataError: none of them has a token to score.
    """
    totals = np.array([[row[name] for name in COUNTS] for row in counted], np.float64).reshape(-1, 4).sum(axis=0)
    tokens, top1, top5, log_likelihood = totals.tolist()
    if not tokens:
        raise DataError("None of the texts has a token that can be scored.", "name data files with plain sentences.")
    return {
        "top1_accuracy": top1 / tokens,
        "top5_accuracy": top5 / tokens,
        "pseudo_perplexity": exp(-log_likelihood / tokens),
        "mean_log_likelihood": log_likelihood / tokens,
        "scored_tokens": tokens,
    }


def share_statistic(hits: Numbers, tokens: Numbers) -> Statistic:
    """The share of tokens that are hit, as a function of how often each text is drawn."""

    def share(weights: Numbers) -> Numbers:
        found: Numbers = weights @ hits / np.maximum(weights @ tokens, 1)
        return found

    return share
