"""Raw text files as documents: lists of sentences, streamed, each with the place of its first line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from components.data.text_lines import TextLines, look_at
from components.errors import DataError
from components.pretraining.sentences import join_lines, split_sentences
from components.pretraining_config import Corpus

JSON_LINES = (".jsonl", ".ndjson")
KINDS = (".txt", *JSON_LINES)
ENDS = 0x1F  # control characters below this, and two signs of broken text, carry nothing; BERT's cleaning drops them
NOTHING = {code: None for code in (*range(ENDS + 1), 0x7F, 0xFEFF, 0xFFFD) if chr(code) not in "\t\n\r"}
HAS_NOTHING = re.compile(f"[{re.escape(''.join(map(chr, NOTHING)))}]")  # looking is cheaper than cleaning


@dataclass(slots=True)
class Document:
    """The sentences of a document; `place` is `file:line` of its beginning."""

    place: str
    sentences: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """What was noticed while a file was read.

    `blank_lines` counts those between documents; `longest` is the longest sentence with its place.
    """

    name: str
    lines: int = 0
    blank_lines: int = 0
    longest: tuple[int, str] = (0, "")
    bad: list[str] = field(default_factory=list)


def read_documents(path: Path, corpus: Corpus, reading: Reading) -> Iterator[Document]:
    """The documents of a file that have sentences, one after the other; what is noticed goes into `reading`.

    Raises:
        DataError: the file is empty, binary, or of another encoding.
    """
    look_at(path)
    lines = TextLines(path)
    if path.suffix.lower() in JSON_LINES:
        found = _json_lines(lines, corpus.column, reading)
    elif corpus.form == "lines":
        found = (Document(f"{path.name}:{number}", split_sentences(line)) for number, line in _counted(lines, reading))
    elif corpus.form == "files":
        paragraphs = join_lines(line for _, line in _counted(lines, reading))
        found = iter([Document(f"{path.name}:1", [s for text in paragraphs for s in split_sentences(text)])])
    else:
        found = _blocks(lines, path.name, reading)
    for document in found:
        for sentence in document.sentences:
            if len(sentence) > reading.longest[0]:
                reading.longest = (len(sentence), document.place)
        if document.sentences:
            yield document
    if lines.bad:
        number, reason, _ = lines.bad[0]
        raise DataError(
            f"{path.name}:{number}: {reason}; {len(lines.bad):,} lines are not UTF-8, perhaps {lines.encoding()}.",
            f"convert it: iconv -f {lines.encoding()} -t UTF-8.",
        )


def _counted(lines: TextLines, reading: Reading) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        reading.lines = number
        yield number, line.translate(NOTHING) if HAS_NOTHING.search(line) else line


def _blocks(lines: TextLines, name: str, reading: Reading) -> Iterator[Document]:
    """One sentence a line, blank lines between documents."""
    document = Document(f"{name}:1")
    for number, line in _counted(lines, reading):
        sentence = line.strip()
        if sentence:
            document.sentences.append(sentence)
            continue
        if document.sentences:
            reading.blank_lines += 1
            yield document
        document = Document(f"{name}:{number + 1}")
    yield document


def _json_lines(lines: TextLines, column: str, reading: Reading) -> Iterator[Document]:
    for number, line in _counted(lines, reading):
        if line.isspace() or not line:
            continue
        try:
            text = json.loads(line)[column]
        except (ValueError, TypeError, KeyError, RecursionError):
            text = None
        if isinstance(text, str):
            yield Document(f"{reading.name}:{number}", split_sentences(text))
        else:
            reading.bad.append(f"{reading.name}:{number}")
