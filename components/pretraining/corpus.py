"""The corpus: raw text files in, checked documents out, some of them held out for measuring.

`train.parquet` and `validation.parquet` (the held-out documents) have one line a sentence: `row_id` (`file:line` of its
document), `document` (a number) and `text`. `test.parquet` has passages of the held-out documents, which the gate
scores. Files are streamed: what is kept in memory is eight bytes a document.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from components.config import SplitShares
from components.data.data_files import DataFile
from components.data.text import letters, split_of_letters
from components.digests import canonical, digest_file, digest_of
from components.errors import DataError
from components.pretraining.documents import JSON_LINES, Document, Reading, read_documents
from components.pretraining_config import DOCUMENT, Corpus, PretrainingConfig
from components.records import CheckResult, Split, ValidatedDataset

BATCH = 20_000  # sentences that are written at once
PASSAGE = 320  # characters of a scored passage, about: what a reader of 128 tokens has in sight at once
PASSAGE_CHINESE = 100
CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
CHINESE_SHARE = 0.3  # of a document's letters, from which it counts as Chinese
OTHER_LANGUAGE = 0.02  # share of the documents, above which they are no stray ones


@dataclass(slots=True)
class _Split:
    writer: Any
    documents: int = 0
    sentences: int = 0
    waiting: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, document: Document) -> None:
        self.waiting += [(document.place, self.documents, sentence) for sentence in document.sentences]
        self.documents += 1
        self.sentences += len(document.sentences)
        if len(self.waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        row_ids, numbers, texts = zip(*self.waiting, strict=True) if self.waiting else ((), (), ())
        columns = [pa.array(row_ids, pa.string()), pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]
        self.writer.write_table(pa.table(columns, schema=self.writer.schema))
        self.waiting = []


@dataclass(slots=True)
class _Found:
    readings: list[Reading] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    doubles: int = 0
    chinese: list[int] = field(default_factory=lambda: [0, 0])  # documents that are not, that are
    examples: dict[bool, str] = field(default_factory=dict)
    passages: list[tuple[int, int, int, str, str]] = field(default_factory=list)  # a heap: the lowest hashes stay


def read_corpus(config: PretrainingConfig, files: Sequence[DataFile], folder: Path) -> ValidatedDataset:
    """The checked corpus, divided into documents to learn from and documents to measure on.

    Raises:
        DataError: nothing can be learned from this text as the run file describes it; all reasons are named.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("row_id", pa.string()), ("document", pa.int64()), ("text", pa.string())])
    names: tuple[Split, ...] = ("train", "validation")
    found = _Found()
    splits = {name: _Split(pq.ParquetWriter(folder / f"{name}.parquet", schema)) for name in names}
    for document in _documents(config.corpus, files, found):
        plain = letters(" ".join(document.sentences))
        if _is_double(plain, found):
            continue
        _note_language(document, found)
        shares = SplitShares(validation=0.0, test=config.corpus.held_out)
        held_out = split_of_letters(plain, shares) == "test"
        splits["validation" if held_out else "train"].add(document)
        if held_out:
            _note_passages(document, found, config.evaluation.passages)
    for split in splits.values():
        split.flush()
        split.writer.close()
    checks = _checks(config, found, splits)
    _raise_stops(checks)
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


def _documents(corpus: Corpus, files: Sequence[DataFile], found: _Found) -> Iterator[Document]:
    for file in files:
        reading = Reading(file.path.name)
        found.readings.append(reading)
        yield from read_documents(file.path, corpus, reading)


def _is_double(plain: str, found: _Found) -> bool:
    """Whether this document has been there before, letter for letter."""
    place = int.from_bytes(blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest())
    if place in found.seen:
        found.doubles += 1
        return True
    found.seen.add(place)
    return False


def _note_language(document: Document, found: _Found) -> None:
    text = " ".join(document.sentences[:50])
    count = sum(map(str.isalpha, text))
    chinese = len(CHINESE.findall(text)) > CHINESE_SHARE * count
    found.chinese[chinese] += 1
    found.examples.setdefault(chinese, document.place)


def _note_passages(document: Document, found: _Found, most: int) -> None:
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


def _write_passages(found: _Found, folder: Path) -> int:
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


def _checks(config: PretrainingConfig, found: _Found, splits: dict[Split, _Split]) -> list[CheckResult]:
    train, held_out = splits["train"].documents, splits["validation"].documents
    return [
        _has_text(found, train + held_out),
        _has_columns(config.corpus, found),
        _has_blank_lines(config.corpus, found),
        _has_sentences(config.corpus, found),
        _has_others(train + held_out),
        _is_divided(config, train, held_out),
        _is_one_language(config.corpus, found),
        _has_no_doubles(found),
    ]


def _check(name: str, problem: str, passed: str, hint: str, *, rows: int = 1, stop: bool = True) -> CheckResult:
    severity = "stop" if stop else "warn"
    return CheckResult(name, severity, not problem, False, rows if problem else 0, problem or passed, hint)  # type: ignore[arg-type]


def _has_text(found: _Found, documents: int) -> CheckResult:
    empty = (
        "The corpus is empty: its files hold no sentence."
        if not documents and not any(r.bad for r in found.readings)
        else ""
    )
    return _check("not_empty", empty, f"{documents:,} documents.", "name files with text in corpus.files.")


def _has_columns(corpus: Corpus, found: _Found) -> CheckResult:
    bad = [place for reading in found.readings for place in reading.bad]
    problem = f"{len(bad):,} lines of JSON have no text '{corpus.column}', first {bad[0]}." if bad else ""
    return _check(
        "columns",
        problem,
        "Every line of JSON has its text.",
        "set corpus.column to the key of the text, or mend these lines.",
    )


def _has_blank_lines(corpus: Corpus, found: _Found) -> CheckResult:
    plain = [reading for reading in found.readings if not reading.name.lower().endswith(JSON_LINES)]
    lacking = corpus.form == "sentences" and plain and not any(reading.blank_lines for reading in plain)
    lines = sum(reading.lines for reading in plain)
    problem = f"The corpus has no blank lines at all: its {lines:,} lines are no documents." if lacking else ""
    return _check(
        "blank_lines",
        problem,
        "Documents are divided by blank lines." if corpus.form == "sentences" else "Each file or line is a document.",
        "put a blank line between documents; or set corpus.form to lines if each line is a document, to files if each "
        "file is one.",
    )


def _has_sentences(corpus: Corpus, found: _Found) -> CheckResult:
    length, place = max((reading.longest for reading in found.readings), default=(0, ""))
    most = corpus.max_sentence_characters
    problem = f"{place} begins a line of {length:,} characters, which is no sentence." if length > most else ""
    return _check(
        "sentences",
        problem,
        f"The longest sentence has {length:,} characters.",
        "put one sentence on a line, or set corpus.form to lines or files to have the text cut into sentences; "
        f"corpus.max_sentence_characters is {most:,}.",
    )


def _has_others(documents: int) -> CheckResult:
    lonely = documents == 1
    problem = (
        "The corpus is one document only: there is no other one to measure on, nor for next-sentence pairs."
        if lonely
        else ""
    )
    return _check(
        "other_documents",
        problem,
        "There are other documents.",
        "add documents, or put blank lines between those in the file.",
    )


def _is_divided(config: PretrainingConfig, train: int, held_out: int) -> CheckResult:
    wanted = 2 if config.examples.next_sentence else 1
    short = train + held_out > 1 and min(train, held_out) < wanted
    problem = (
        f"Of {train + held_out:,} documents {held_out:,} are held out; {wanted} are needed on either side."
        if short
        else ""
    )
    return _check(
        "held_out",
        problem,
        f"{held_out:,} of {train + held_out:,} documents are held out.",
        f"raise corpus.held_out, now {config.corpus.held_out:g}, or add documents.",
    )


def _is_one_language(corpus: Corpus, found: _Found) -> CheckResult:
    others, chinese = found.chinese
    mixed = min(others, chinese) > OTHER_LANGUAGE * (others + chinese)
    problem = ""
    if mixed and corpus.language != "mixed":
        problem = (
            f"The corpus mixes languages: {chinese:,} documents are Chinese (first {found.examples[True]}), "
            f"{others:,} are not (first {found.examples[False]})."
        )
    return _check(
        "language",
        problem,
        "The documents are of one kind of script." if not mixed else "Two languages, as the run file says.",
        "name the files of one language only, or set corpus.language to mixed if the model shall know both.",
    )


def _has_no_doubles(found: _Found) -> CheckResult:
    problem = f"{found.doubles:,} documents are there twice; each is read once." if found.doubles else ""
    return _check("doubles", problem, "No document is there twice.", "remove them.", rows=found.doubles, stop=False)


def _raise_stops(checks: Sequence[CheckResult]) -> None:
    stops = [check for check in checks if not check.passed and check.severity == "stop"]
    if stops:
        raise DataError(
            "\n".join(check.sentence for check in stops),
            "; ".join(dict.fromkeys(check.hint.rstrip(".") for check in stops)) + ".",
        )


def _summary(found: _Found, splits: dict[Split, _Split]) -> dict[str, Any]:
    return {
        "documents": {name: split.documents for name, split in splits.items()},
        "sentences": {name: split.sentences for name, split in splits.items()},
        "chinese_documents": found.chinese[1],
        "doubles": found.doubles,
        "lines": {reading.name: reading.lines for reading in found.readings},
    }
