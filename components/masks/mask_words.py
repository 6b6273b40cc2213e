"""Which tokens are one word, so that whole-word masking hides all of them or none.

Pieces that go on a word (`##ing`, and what follows without a gap in SentencePiece and byte-level BPE) belong to it.
Chinese has no gaps: there a segmenter says which characters are a word, and without one each token is its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import ConfigError

HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
SEGMENTER = "rjieba"  # jieba's dictionary and rules in Rust, MIT
CONTINUED = "##"  # WordPiece marks what goes on
GAPS = ("▁", "Ġ")  # SentencePiece and byte-level BPE mark what begins

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Segment = Callable[[str], Sequence[str]]  # a run of Chinese to its words, which are the run again when joined


def has_segmenter() -> bool:
    """Whether the package that `find_segmenter` needs is installed."""
    return find_spec(SEGMENTER) is not None


def find_segmenter() -> Segment:
    """What divides Chinese into words.

    Raises:
        ConfigError: the package is not installed.
    """
    if not has_segmenter():
        raise ConfigError(
            f"Chinese words are found by the package {SEGMENTER}, which is not installed.",
            f"run: pip install {SEGMENTER}",
        )
    segment: Segment = import_module(SEGMENTER).cut
    return segment


def word_begins(ids: Ids, tokenizer: Any, segment: Segment | None = None) -> Flags:
    """Whether a token begins a word; [CLS] and its kind do, and what follows them.

    Args:
        ids: (windows, tokens).
        segment: divides runs of Chinese tokens; None: each of them is a word.
    """
    pieces = _pieces_of(tokenizer)
    joined = pieces.goes_on[ids[:, 1:]] & pieces.leads_on[ids[:, :-1]]
    begins = np.concatenate([np.ones((len(ids), min(1, ids.shape[1])), dtype=bool), ~joined], axis=1)
    if segment is None:
        return begins
    for line, start, end in _chinese_runs(ids, pieces):
        texts = [pieces.texts[token] for token in ids[line, start:end].tolist()]
        edges = {0, *accumulate(map(len, segment("".join(texts))))}
        begins[line, start:end] = [place in edges for place in accumulate(map(len, texts[:-1]), initial=0)]
    return begins


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Of each id: its characters, whether it may go on a word, be gone on, is Chinese, and has a gap before it."""

    texts: Sequence[str]
    goes_on: Flags
    leads_on: Flags
    chinese: Flags
    gap: Flags


@lru_cache(maxsize=4)
def _pieces_of(tokenizer: Any) -> _Pieces:
    special = set(tokenizer.all_special_ids)
    pieces = [
        "" if number in special else piece or ""
        for number, piece in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    ]
    if any(piece.startswith(CONTINUED) and len(piece) > len(CONTINUED) for piece in pieces):
        texts = [piece.removeprefix(CONTINUED) if len(piece) > len(CONTINUED) else piece for piece in pieces]
        goes_on = [text != piece for text, piece in zip(texts, pieces, strict=True)]
        leads_on, gap = [bool(piece) for piece in pieces], [False] * len(pieces)
    else:
        gap = [piece.startswith(GAPS) for piece in pieces]
        texts = [piece.lstrip("".join(GAPS)) for piece in pieces]
        goes_on = [bool(text) and not own and _is_letter(text[0]) for text, own in zip(texts, gap, strict=True)]
        leads_on = [bool(text) and _is_letter(text[-1]) for text in texts]
    chinese = [HAN.fullmatch(text) is not None for text in texts]
    return _Pieces(texts, *(np.array(flags, dtype=bool) for flags in (goes_on, leads_on, chinese, gap)))


def _is_letter(sign: str) -> bool:
    return sign.isalnum() and HAN.match(sign) is None


def _chinese_runs(ids: Ids, pieces: _Pieces) -> Iterator[tuple[int, int, int]]:
    """Line, start and end of each run of Chinese tokens without a gap."""
    chinese = np.zeros((len(ids), ids.shape[1] + 2), dtype=bool)
    chinese[:, 1:-1] = pieces.chinese[ids]
    apart = np.ones((len(ids), ids.shape[1] + 1), dtype=bool)  # whether a border lies before a token
    apart[:, :-1] = pieces.gap[ids]
    starts = chinese[:, 1:] & (~chinese[:, :-1] | apart)
    ends = chinese[:, :-1] & (~chinese[:, 1:] | apart)
    lines, first = np.nonzero(starts)
    _, last = np.nonzero(ends)
    yield from zip(lines.tolist(), first.tolist(), last.tolist(), strict=True)
