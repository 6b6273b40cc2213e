"""Texts as they are compared: what a reader would call the same text becomes the same string.

Two strengths: `normalised` evens out what no reader sees (case, kinds of spaces, width, quotes, dashes), `letters`
drops punctuation too. The first decides what is a duplicate, the second what may leak. Neither is what a model reads.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
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


BOUNDARY = "\0"  # between texts that are evened together: nothing composes with it, and no text keeps one


class _SameSigns(dict[int, str]):
    """A table for `str.translate` that learns each character when it first meets it."""

    def __init__(self, *, drop_punctuation: bool) -> None:
        super().__init__({ord(BOUNDARY): BOUNDARY})
        self.drop_punctuation = drop_punctuation

    def __missing__(self, code: int) -> str:
        sign = TYPOGRAPHY.get(code, chr(code))
        category = unicodedata.category(sign)
        if sign.isspace() or (self.drop_punctuation and category[0] == "P"):
            sign = " "
        elif category == "Cf":  # zero-width and direction marks, soft hyphen, byte order mark
            sign = ""
        self[code] = sign
        return sign


_VISIBLE = _SameSigns(drop_punctuation=False)
_LETTERS = _SameSigns(drop_punctuation=True)


def normalised(text: str) -> str:
    """The text in NFKC, case-folded, with plain quotes and dashes, single spaces and nothing invisible."""
    return normalise_all([text])[0]


def letters(text: str) -> str:
    """The normalised text without punctuation; a text of nothing but punctuation stays as it is."""
    return letters_of_all(normalise_all([text]))[0]


def normalise_all(texts: Sequence[str]) -> list[str]:
    """`normalised` of each text; many at once, because Python's string methods are fast on long strings alone."""
    return _each_script(texts, lambda joined: unicodedata.normalize("NFKC", joined).casefold().translate(_VISIBLE))


def letters_of_all(plain: Sequence[str]) -> list[str]:
    """`letters` of each text that is normalised already."""
    dropped = _each_script(plain, lambda joined: joined.translate(_LETTERS))
    return [short or whole for short, whole in zip(dropped, plain, strict=True)]


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


def _each_script(texts: Sequence[str], even: Callable[[str], str]) -> list[str]:
    """Even out ASCII texts apart from the others: on those, Python is many times faster."""
    ascii_places = [place for place, text in enumerate(texts) if text.isascii()]
    if len(ascii_places) == len(texts):
        return _together(texts, even)
    result = list(texts)
    other_places = [place for place, text in enumerate(texts) if not text.isascii()]
    for places in (ascii_places, other_places):
        for place, text in zip(places, _together([texts[place] for place in places], even), strict=True):
            result[place] = text
    return result


def _together(texts: Sequence[str], even: Callable[[str], str]) -> list[str]:
    if not texts:
        return []
    joined = BOUNDARY.join(texts)
    if joined.count(BOUNDARY) != len(texts) - 1:
        joined = BOUNDARY.join(text.replace(BOUNDARY, " ") for text in texts)
    spaced = even(joined)
    while "  " in spaced:
        spaced = spaced.replace("  ", " ")
    spaced = spaced.replace(f"{BOUNDARY} ", BOUNDARY).replace(f" {BOUNDARY}", BOUNDARY).strip(" ")
    if not spaced.isascii():
        spaced = SPACES_IN_UNSPACED.sub("", spaced)
    return spaced.split(BOUNDARY)
