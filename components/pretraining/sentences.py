"""Documents cut into sentences, by rules: English by stops before a capital, Chinese by its full stops.

Text whose lines were broken at a width is put together first, paragraph by paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# Behind these a stop ends no sentence.
ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "gen", "col", "capt", "lieut", "sgt", "hon", "mme"),
        *("vs", "etc", "eg", "ie", "cf", "fig", "no", "nos", "vol", "pp", "approx", "inc", "ltd", "co", "corp", "dept"),
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
    )
)
CLOSING = "\"'”’»)\\]】」』》"
# A Chinese stop, or a Latin one before a gap and what can begin a sentence.
STOP = re.compile(
    rf"(?:[。！？；!?…]+[{CLOSING}]*)(?=[^{CLOSING}])|"
    rf"(?:[.!?]+[{CLOSING}]*)(?=\s+[\"'“‘«(\[]?[A-Z0-9\u00c0-\u00de\u0400-\u042f\u4e00-\u9fff])"
)
LATIN_STOPS = "!?…"
WIDE = re.compile(
    "[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
)  # between these stands no space


def join_lines(lines: Iterable[str]) -> Iterator[str]:
    """The paragraphs of a text that blank lines divide, each on one line: elsewhere a line break ends nothing."""
    paragraph = ""
    for line in lines:
        text = " ".join(line.split())
        if text and paragraph:
            paragraph += _joint(paragraph[-1], text[0]) + text
        elif text:
            paragraph = text
        elif paragraph:
            yield paragraph
            paragraph = ""
    if paragraph:
        yield paragraph


def _joint(before: str, after: str) -> str:
    """What a line break stands for: nothing in Chinese, where only a Latin word or a number has a space beside it."""
    chinese = (WIDE.match(before) and not after.isascii()) or (WIDE.match(after) and not before.isascii())
    return "" if chinese else " "


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, stripped; line breaks always end one. Nothing but white space is lost."""
    return [sentence for line in text.splitlines() for sentence in _of_line(line)]


def _of_line(line: str) -> list[str]:
    found: list[str] = []
    start = 0
    for match in STOP.finditer(line):
        if _ends_nothing(line, match):
            continue
        found.append(line[start : match.end()].strip())
        start = match.end()
    found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends_nothing(line: str, match: re.Match[str]) -> bool:
    """Whether a stop belongs to an abbreviation or an initial, or stands inside a word such as `is it?no`."""
    stop = match[0]
    if stop[0] in LATIN_STOPS and not line[match.end()].isspace() and line[match.end()].isascii():
        return True
    if stop != ".":
        return False
    word = re.search(r"([\w.]*)$", line[: match.start()])
    before = word[1].replace(".", "").lower() if word else ""
    return before in ABBREVIATIONS or (len(before) == 1 and before.isalpha())
