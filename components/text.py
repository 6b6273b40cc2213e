"""Texts as they are compared: what a reader would call the same text becomes the same string.

Two strengths: `normalised` evens out what no reader sees (case, kinds of spaces, width, quotes, dashes), `letters`
drops punctuation too. The first decides what is a duplicate, the second what may leak. Neither is what a model reads.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

from components.config import SplitShares
from components.records import Split

# Signs that differ by keyboard, not by meaning.
TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "‘’‚‛′`´ʼ"), "'"),
    **dict.fromkeys(map(ord, "“”„‟″«»「」『』《》〈〉"), '"'),
    **dict.fromkeys(map(ord, "‐‑‒–—―−─"), "-"),
    ord("。"): ".",
    ord("、"): ",",
    ord("·"): "•",
}
# Scripts that are written without spaces, where a space carries no meaning. Hangul does not belong to them.
UNSPACED = "\u2e80-\u30ff\u3100-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SPACES_IN_UNSPACED = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


class _SameSigns(dict[int, str]):
    """A table for `str.translate` that learns each character when it first meets it."""

    def __init__(self, *, drop_punctuation: bool) -> None:
        super().__init__()
        self.drop_punctuation = drop_punctuation

    def __missing__(self, code: int) -> str:
        sign = TYPOGRAPHY.get(code, chr(code))
        if self.drop_punctuation and unicodedata.category(sign)[0] == "P":
            sign = " "
        elif unicodedata.category(sign) == "Cf":  # zero-width and direction marks, soft hyphen, byte order mark
            sign = ""
        self[code] = sign
        return sign


_VISIBLE = _SameSigns(drop_punctuation=False)
_LETTERS = _SameSigns(drop_punctuation=True)


def normalised(text: str) -> str:
    """The text in NFKC, case-folded, with plain quotes and dashes, single spaces and nothing invisible."""
    return _even(unicodedata.normalize("NFKC", text).casefold().translate(_VISIBLE))


def letters(text: str) -> str:
    """The normalised text without punctuation; a text of nothing but punctuation stays as it is."""
    return letters_of(normalised(text))


def letters_of(plain: str) -> str:
    """`letters` of a text that is normalised already."""
    return _even(plain.translate(_LETTERS)) or plain


def split_of(text: str, shares: SplitShares) -> Split:
    """The split that a text belongs to, for ever: it depends on the text's letters alone, not on its neighbours."""
    return split_of_letters(letters(text), shares)


def split_of_letters(plain: str, shares: SplitShares) -> Split:
    """`split_of` for a text of which only the letters are left; those of a pair are joined by U+001F.

    Test comes first on the scale, so that another share for validation moves no row into or out of test.
    """
    place = int.from_bytes(blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest()) / 2**64
    if place < shares.test:
        return "test"
    return "validation" if place < shares.test + shares.validation else "train"


def _even(text: str) -> str:
    spaced = " ".join(text.split())
    return spaced if spaced.isascii() else SPACES_IN_UNSPACED.sub("", spaced)
