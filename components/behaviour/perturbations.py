"""Small changes of a text that change nothing for a reader: text in, changed text out, or None where none applies.

Each is one function with the same shape; the same text is always changed the same way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from zlib import crc32

from components.behaviour.han_variants import PAIRS

WIDTH = 0xFEE0  # from an ASCII sign to its full-width form
NARROW = range(0x21, 0x7F)
SHORTEST = 5  # letters of a word that may have a typo: of shorter ones another word would come too often
WORD = re.compile(f"[A-Za-z]{{{SHORTEST},}}")
NUMBER = re.compile(r"\d+")
FINAL = ".!?。！？…"


def casing(text: str) -> str | None:
    """All letters large, as of somebody who shouts."""
    return _changed(text, text.upper())


def typo(text: str) -> str | None:
    """Two neighbouring letters of one word, never the first or the last, change places."""
    words = list(WORD.finditer(text))
    if not words:
        return None
    draw = random.Random(crc32(text.encode()))  # noqa: S311 - no secret
    word = draw.choice(words)
    place = word.start() + draw.randrange(1, len(word.group()) - 2)
    return _changed(text, text[:place] + text[place + 1] + text[place] + text[place + 2 :])


def full_width(text: str) -> str | None:
    """Letters, digits and signs as a Chinese keyboard may write them."""
    return _changed(text, text.translate({code: code + WIDTH for code in NARROW}))


def half_width(text: str) -> str | None:
    """Full-width letters, digits and signs in their usual form."""
    return _changed(text, text.translate({code + WIDTH: code for code in NARROW}))


def traditional(text: str) -> str | None:
    """Simplified characters with one traditional form in that form."""
    return _changed(text, text.translate(_variants()))


def simplified(text: str) -> str | None:
    """Traditional characters in their simplified form."""
    return _changed(text, text.translate({ord(many): chr(few) for few, many in _variants().items()}))


def punctuation(text: str) -> str | None:
    """Without the sign at the end."""
    return _changed(text, text.rstrip().rstrip(FINAL))


def numbers(text: str) -> str | None:
    """Every number another one of as many digits."""
    draw = random.Random(crc32(text.encode()))  # noqa: S311 - no secret
    return _changed(text, NUMBER.sub(lambda found: _another(found.group(), draw), text))


def _another(digits: str, draw: random.Random) -> str:
    return "".join(draw.choice([sign for sign in "123456789" if sign != digit]) for digit in digits)


def _changed(before: str, after: str) -> str | None:
    return after if after != before and after.strip() else None


@cache
def _variants() -> dict[int, str]:
    """Simplified to traditional, for characters that have one form each way."""
    return {ord(pair[0]): pair[1] for pair in PAIRS.split()}


PERTURBATIONS: dict[str, Callable[[str], str | None]] = {
    each.__name__: each
    for each in (casing, typo, full_width, half_width, traditional, simplified, punctuation, numbers)
}
