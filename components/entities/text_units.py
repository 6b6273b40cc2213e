"""A text as the units that get one tag each, with exact offsets and without any tokenizer.

A character of a script that is written without spaces is a unit, so is a run of letters and digits with their combining
marks, and so is every other visible character, an emoji with all that belongs to it. White space and characters that
nobody sees belong to no unit. Tokenizers differ, and SentencePiece's pieces of Chinese cross the borders of names; a
model's answers should not. Where an entity never begins or ends inside a word, whole words such as U.S, mid-1990s or
Goma-Bukavu can be units: fewer to tag, and no answer with half of one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

ENOUGH_WORDS = 10  # with a mark inside, that entities hold: from fewer, nothing follows
LONGEST = 64  # characters of one unit; WordPiece gives up on words of 100
# Chinese, Japanese, Bopomofo, Thai, Lao, Burmese, Khmer. Hangul is written with spaces.
UNSPACED = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"
)
# What makes one word of the letters or digits on both sides; one or two of the first, as in U.S.-based.
JOINING = frozenset("-.&/@_")
APOSTROPHES = ("'", "’")
JOINING_DIGITS = (",", ":")
MOST_MARKS = 2
CLITICS = ("s", "t", "d", "m", "ll", "re", "ve")  # behind an apostrophe they are words of their own
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


def split_units(text: str, *, words: bool = False) -> list[tuple[int, int]]:
    """Start and end of each unit in code points, in order and without overlap.

    Args:
        words: whether a mark inside a word belongs to it.
    """
    kinds = text.translate(_KINDS)
    units = [match.span() for match in _UNIT.finditer(kinds)]
    return _joined(text, kinds, units) if words else units


def _joined(text: str, kinds: str, units: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Units with those put together that are letters or digits on both sides of joining marks, and nothing between."""
    found: list[tuple[int, int]] = []
    place = 0
    while place < len(units):
        start, end = units[place]
        place += 1
        while more := _more_of_word(text, kinds, units[place - 1 : place + MOST_MARKS + 1]):
            if units[place + more - 1][1] - start > LONGEST:
                break
            place += more
            end = units[place - 1][1]
        found.append((start, end))
    return found


def _more_of_word(text: str, kinds: str, units: Sequence[tuple[int, int]]) -> int:
    """How many units behind the first, the newest of a word, belong to that word as well."""
    if kinds[units[0][0]] != "l":
        return 0
    for marks in range(1, len(units)):
        start, end = units[marks]
        if start != units[marks - 1][1]:
            break  # white space
        if kinds[start] == "l":
            between = text[units[0][1] : start]
            return marks if between and _joins(between, text[units[0][1] - 1], text[start:end]) else 0
    return int(len(units) > 1 and _is_initial(text, *units[:2]))


def _joins(marks: str, before: str, after: str) -> bool:
    if marks in APOSTROPHES:
        return after.lower() not in CLITICS
    between_digits = before.isdigit() and after[0].isdigit()
    return set(marks) <= JOINING or (between_digits and marks in JOINING_DIGITS)


def _is_initial(text: str, letter: tuple[int, int], dot: tuple[int, int]) -> bool:
    """Whether a letter by itself, or the last one of U.S, has its dot behind it."""
    return text[slice(*dot)] == "." and dot[0] == letter[1] == letter[0] + 1 and not text[letter[0]].isdigit()


def borders_keep_words(texts: Iterable[tuple[str, Sequence[tuple[int, int, str]]]]) -> bool:
    """Whether spans with labels keep words whole: some hold such with a mark inside, and none begins or ends in one."""
    whole = 0
    for text, spans in texts:
        for start, end in set(split_units(text, words=True)).difference(split_units(text)) if spans else ():
            touching = [span for span in spans if span[0] < end and start < span[1]]
            if any(start < border < end for span in touching for border in span[:2]):
                return False
            whole += bool(touching)
    return whole >= ENOUGH_WORDS


def is_unspaced(sign: str) -> bool:
    """Whether no space stands before or after this character of running text: Chinese letters and punctuation."""
    return UNSPACED.match(sign) is not None or "\u3000" <= sign <= "\u303f" or "\uff01" <= sign <= "\uff65"
