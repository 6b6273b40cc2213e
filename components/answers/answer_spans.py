"""Decoding: the best spans of a context from the start and end logits of its windows.

A span's score is the logit of its first token as a start plus that of its last as an end. Both lie in one window and in
the context, the end not before the start, and the start counts only in the window where it has maximum context. All
spans of all windows are compared, not only those of the likeliest starts and ends: the best is the same or better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.answers.answer_windows import CLS, Integers, positions_of
from components.task_types.base import Features, Numbers

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spans:
    """The best spans of one context, no text twice, best first.

    Args:
        starts: the first character of each.
        ends: the one after its last.
        scores: sums of logits.
        null: the score of no answer: the lowest sum of the logits of [CLS] in any window.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    scores: tuple[float, ...]
    null: float

    @property
    def null_lead(self) -> float:
        """By how much no answer is ahead of the best span; infinite where there is no span."""
        return self.null - self.scores[0] if self.scores else np.inf

    def best_text(self, context: str) -> str:
        """The best span of the context, empty where there is none."""
        return context[self.starts[0] : self.ends[0]] if self.scores else ""


def best_spans(
    context: str,
    features: Sequence[Features],
    logits: Sequence[NDArray[np.float32]],
    *,
    n_best: int,
    max_answer_length: int,
) -> Spans:
    """The best spans of one row.

    Args:
        context: what the answers are cut from.
        features: its windows.
        logits: of each window, (tokens, 2): start and end.
        n_best: spans to keep.
        max_answer_length: most tokens of a span.
    """
    place, start, end, window = positions_of(features)
    values = np.concatenate(logits).astype(np.float64)  # (tokens of all windows, 2)
    null = min(float(own[CLS].astype(np.float64).sum()) for own in logits)
    read = end > start
    starts = np.where(read & maximum_context(place, window), values[:, 0], -np.inf)
    scores = _span_scores(starts, np.where(read, values[:, 1], -np.inf), window, max_answer_length)
    found = _best(context, scores, start, end, n_best)
    if not found:
        return Spans((), (), (), null)
    best, first, last = zip(*found, strict=True)
    return Spans(first, last, best, null)


def can_be_found(features: Sequence[Features], first: int, last: int, max_answer_length: int) -> bool:
    """Whether `best_spans` could give that part of the context: its length, and one window that holds it, allow it.

    Args:
        features: the windows of one row.
        first: the first character of the part.
        last: the one after its last.
    """
    place, start, end, window = positions_of(features)
    touched = place[(start < last) & (end > first)]
    if not len(touched) or touched.max() - touched.min() >= max_answer_length:
        return False
    begins = window[(place == touched.min()) & maximum_context(place, window)]
    return bool(np.isin(window[place == touched.max()], begins).any())


def maximum_context(place: Integers, window: Integers) -> Flags:
    """Whether a token of the context is in the window where it has most context on its poorer side.

    Among equals the longer window counts, by a hundredth of a token a token, then the earlier one. Tokens outside the
    context, with a place of -1, have none.

    Source: _check_is_max_context of Google's run_squad.py; whole numbers here, a hundredth of a token each.
    """
    inside = place >= 0
    count = int(window[-1]) + 1
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(lowest, window[inside], place[inside])
    np.maximum.at(highest, window[inside], place[inside])
    low, high = lowest[window], highest[window]
    value = 100 * np.minimum(place - low, high - place) + (high - low)
    order = np.lexsort((window, -value, place))  # of each place, the best window first
    first = np.diff(place[order], prepend=-2) != 0
    chosen = np.zeros(len(place), dtype=bool)
    chosen[order[first]] = True
    return chosen & inside


def _span_scores(starts: Numbers, ends: Numbers, window: Integers, longest: int) -> Numbers:
    """(tokens, longest): the score of the span from each token over so many more; -inf where there is none."""
    scores = np.full((len(starts), longest), -np.inf)
    for more in range(min(longest, len(starts))):
        stop = len(starts) - more
        together = window[:stop] == window[more:]
        scores[:stop, more] = np.where(together, starts[:stop] + ends[more:], -np.inf)
    return scores


def _best(context: str, scores: Numbers, start: Integers, end: Integers, n_best: int) -> list[tuple[float, int, int]]:
    """Score, first and last character of the best spans, of those with the same text the best one."""
    flat = scores.ravel()
    possible = int((flat > -np.inf).sum())
    look = 2 * n_best
    while True:
        look = min(look, possible)
        found = _distinct(context, _ranked(flat, scores.shape[1], start, end, look), n_best)
        if len(found) == n_best or look == possible:
            return found
        look *= 4


def _ranked(flat: Numbers, longest: int, start: Integers, end: Integers, look: int) -> list[tuple[float, int, int]]:
    """The `look` best spans and those that are as good as the last of them; equal scores in the order of the text."""
    if not look:
        return []
    limit = np.partition(flat, -look)[-look]
    chosen = np.flatnonzero(flat >= limit)
    token, more = np.divmod(chosen, longest)
    first, last, score = start[token], end[token + more], flat[chosen]
    order = np.lexsort((last, first, -score))
    return list(zip(score[order].tolist(), first[order].tolist(), last[order].tolist(), strict=True))


def _distinct(context: str, ranked: Sequence[tuple[float, int, int]], most: int) -> list[tuple[float, int, int]]:
    texts: set[str] = set()
    found: list[tuple[float, int, int]] = []
    for score, first, last in ranked:
        text = context[first:last]
        if text not in texts:
            texts.add(text)
            found.append((score, first, last))
        if len(found) == most:
            break
    return found
