"""The corpus: raw text files in, checked documents out, some of them held out for measuring.

`train.parquet` and `validation.parquet` (the held-out documents) have one line a sentence: `row_id` (`file:line` of its
document), `document` (a number) and `text`. `test.parquet` has passages of the held-out documents, which the gate
scores. Files are streamed: kept in memory are a hash of each document, about a hundred bytes, and the passages.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from components.config import SplitShares
from components.data.data_files import DataFile
from components.data.text import letters_of_all, normalise_all, split_of_letters
from components.digests import canonical, digest_file, digest_of
from components.pretraining.corpus_checks import Found, check_corpus, raise_stops
from components.pretraining.documents import Document, Reading, read_documents
from components.pretraining_config import DOCUMENT, Corpus, PretrainingConfig
from components.records import Split, ValidatedDataset

BATCH = 20_000  # sentences that are written at once
CHARACTERS = 200_000  # whose letters are taken at once
PASSAGE = 320  # characters of a scored passage, about: what a reader of 128 tokens has in sight at once
PASSAGE_CHINESE = 100
CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
CHINESE_SHARE = 0.3  # of a document's letters, from which it counts as Chinese


@dataclass(slots=True)
class _Split:
    writer: Any
    documents: int = 0
    sentences: int = 0
    row_ids: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, document: Document) -> None:
        count = len(document.sentences)
        self.row_ids += [document.place] * count
        self.numbers += [self.documents] * count
        self.texts += document.sentences
        self.documents += 1
        self.sentences += count
        if len(self.texts) >= BATCH:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        lines = {"row_id": self.row_ids, "document": self.numbers, "text": self.texts}
        self.writer.write_table(pa.table(lines, schema=self.writer.schema))
        self.row_ids, self.numbers, self.texts = [], [], []


def read_corpus(config: PretrainingConfig, files: Sequence[DataFile], folder: Path) -> ValidatedDataset:
    """The checked corpus, divided into documents to learn from and documents to measure on.

    Raises:
        DataError: nothing can be learned from this text as the run file describes it; all reasons are named.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("row_id", pa.string()), ("document", pa.int64()), ("text", pa.string())])
    names: tuple[Split, ...] = ("train", "validation")
    found = Found()
    shares = SplitShares(validation=0.0, test=config.corpus.held_out)
    splits = {name: _Split(pq.ParquetWriter(folder / f"{name}.parquet", schema)) for name in names}
    for document, plain in _with_letters(_documents(config.corpus, files, found)):
        if _is_double(plain, found):
            continue
        _note_language(document, found)
        held_out = split_of_letters(plain, shares) == "test"
        splits["validation" if held_out else "train"].add(document)
        if held_out:
            _note_passages(document, found, config.evaluation.passages)
    for split in splits.values():
        split.flush()
        split.writer.close()
    checks = check_corpus(config, found, splits["train"].documents, splits["validation"].documents)
    raise_stops(checks)
    passages = _write_passages(found, folder)
    rows: dict[str, int] = {**{name: split.sentences for name, split in splits.items()}, "test": passages}
    (folder / "corpus.json").write_text(canonical(_summary(found, splits)), encoding="utf-8")
    return ValidatedDataset(
        folder=folder,
        digest=digest_of({name: digest_file(folder / f"{name}.parquet") for name in rows}),
        rows=rows,
        labels=(),
        quarantined_rows=found.doubles,
        source_digests={file.path.name: file.digest for file in files},
        checks=tuple(checks),
    )


def _documents(corpus: Corpus, files: Sequence[DataFile], found: Found) -> Iterator[Document]:
    for file in files:
        reading = Reading(file.path.name)
        found.readings.append(reading)
        yield from read_documents(file.path, corpus, reading)


def _with_letters(documents: Iterable[Document]) -> Iterator[tuple[Document, str]]:
    """Each document with its letters, which are taken of many at once: each call has its price."""
    together: list[Document] = []
    texts: list[str] = []
    size = 0
    for document in documents:
        together.append(document)
        texts.append(" ".join(document.sentences))
        size += len(texts[-1])
        if size > CHARACTERS:
            yield from zip(together, letters_of_all(normalise_all(texts)), strict=True)
            together, texts, size = [], [], 0
    yield from zip(together, letters_of_all(normalise_all(texts)), strict=True)


def _is_double(plain: str, found: Found) -> bool:
    """Whether this document has been there before, letter for letter."""
    place = int.from_bytes(blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest())
    if place in found.seen:
        found.doubles += 1
        return True
    found.seen.add(place)
    return False


def _note_language(document: Document, found: Found) -> None:
    text = " ".join(document.sentences[:50])
    chinese = not text.isascii() and len(CHINESE.findall(text)) > CHINESE_SHARE * sum(map(str.isalpha, text))
    found.chinese[chinese] += 1
    found.examples.setdefault(chinese, document.place)


def _note_passages(document: Document, found: Found, most: int) -> None:
    """Cut a held-out document into passages, and keep it among the `most` whose hashes are lowest."""
    for number, text in enumerate(_passages(document.sentences)):
        place = int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
        entry = (-place, len(found.seen), number, document.place, text)
        if len(found.passages) < most:
            heapq.heappush(found.passages, entry)
        else:
            heapq.heappushpop(found.passages, entry)


def _passages(sentences: Sequence[str]) -> Iterator[str]:
    joint = "" if CHINESE.search(sentences[0]) else " "
    longest = PASSAGE if joint else PASSAGE_CHINESE
    passage = sentences[0]
    for sentence in sentences[1:]:
        if len(passage) + len(sentence) > longest:
            yield passage
            passage = sentence
        else:
            passage = f"{passage}{joint}{sentence}"
    yield passage


def _write_passages(found: Found, folder: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = sorted(found.passages, key=lambda entry: entry[1:3])
    columns = {
        "row_id": [f"{place}, passage {number + 1}" for _, _, number, place, _ in kept],
        "text": [text for *_, text in kept],
        DOCUMENT: [place for _, _, _, place, _ in kept],
    }
    pq.write_table(pa.table(columns), folder / "test.parquet")
    return len(kept)


def _summary(found: Found, splits: dict[Split, _Split]) -> dict[str, Any]:
    return {
        "documents": {name: split.documents for name, split in splits.items()},
        "sentences": {name: split.sentences for name, split in splits.items()},
        "chinese_documents": found.chinese[1],
        "doubles": found.doubles,
        "lines": {reading.name: reading.lines for reading in found.readings},
    }
