"""A text as the units that get one tag each, with exact offsets and without any tokenizer.

A character of a script that is written without spaces is a unit, so is a run of letters and digits with their combining
marks, and so is every other visible character, an emoji with all that belongs to it. White space and characters that
nobody sees belong to no unit. Tokenizers differ, and SentencePiece's pieces of Chinese cross the borders of names; a
model's answers should not.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 64  # characters of one unit; WordPiece gives up on words of 100
# Chinese, Japanese, Bopomofo, Thai, Lao, Burmese, Khmer. Hangul is written with spaces.
UNSPACED = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
JOINERS = "\u200c\u200d"
FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")
SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
FLAG_TAGS = ("\U000e0020", "\U000e007f")  # they spell the flags of Scotland and Wales behind a black flag


class _Kinds(dict[int, str]):
    """A table for `str.translate` that learns each character when it first meets it: to one letter for its kind."""

    def __missing__(self, code: int) -> str:
        self[code] = kind = _kind(chr(code))
        return kind


def _kind(sign: str) -> str:
    """c unspaced letter, l letter or digit, m what clings to the sign before, j joiner, r half a flag, s and f nothing
    visible, o any other."""
    category = unicodedata.category(sign)
    if sign.isspace():
        return "s"
    if category[0] == "M" or SKIN_TONES[0] <= sign <= SKIN_TONES[1] or FLAG_TAGS[0] <= sign <= FLAG_TAGS[1]:
        return "m"
    if sign in JOINERS:
        return "j"
    if category in ("Cf", "Cc"):
        return "f"
    if FLAG_LETTERS[0] <= sign <= FLAG_LETTERS[1]:
        return "r"
    if UNSPACED.match(sign):
        return "c"
    return "l" if sign.isalnum() else "o"


_KINDS = _Kinds()
# Marks are at most as many as a unit has room for: a text of nothing else would be one unit otherwise.
_UNIT = re.compile(
    f"c(?:m|[jf](?=m)){{0,{LONGEST - 1}}}"
    f"|l(?:[lm]|[jf](?=[lm])){{0,{LONGEST - 1}}}"
    f"|rr"
    f"|[or](?:m|j(?=[oc])[oc]|[jf](?=m)){{0,{LONGEST // 2 - 1}}}"
    f"|m{{1,{LONGEST}}}"
)


def split_units(text: str) -> list[tuple[int, int]]:
    """Start and end of each unit in code points, in order and without overlap."""
    kinds = text.translate(_KINDS)
    return [match.span() for match in _UNIT.finditer(kinds)]


def is_unspaced(sign: str) -> bool:
    """Whether no space stands before or after this character of running text: Chinese letters and punctuation."""
    return UNSPACED.match(sign) is not None or "\u3000" <= sign <= "\u303f" or "\uff01" <= sign <= "\uff65"
