"""What a corpus must be like before a model learns from it: each check names its problem and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.errors import DataError
from components.pretraining.documents import JSON_LINES, Reading
from components.pretraining_config import Corpus, PretrainingConfig
from components.records import CheckResult

OTHER_LANGUAGE = 0.02  # share of the documents, above which they are no stray ones


@dataclass(slots=True)
class Found:
    """What reading the files has shown."""

    readings: list[Reading] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    doubles: int = 0
    chinese: list[int] = field(default_factory=lambda: [0, 0])  # documents that are not, that are
    examples: dict[bool, str] = field(default_factory=dict)
    passages: list[tuple[int, int, int, str, str]] = field(default_factory=list)  # a heap: the lowest hashes stay


def check_corpus(config: PretrainingConfig, found: Found, train: int, held_out: int) -> list[CheckResult]:
    """What is right and wrong with a corpus of so many documents to learn from and to measure on."""
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


def _has_text(found: Found, documents: int) -> CheckResult:
    empty = (
        "The corpus is empty: its files hold no sentence."
        if not documents and not any(r.bad for r in found.readings)
        else ""
    )
    return _check("not_empty", empty, f"{documents:,} documents.", "name files with text in corpus.files.")


def _has_columns(corpus: Corpus, found: Found) -> CheckResult:
    bad = [place for reading in found.readings for place in reading.bad]
    problem = f"{len(bad):,} lines of JSON have no text '{corpus.column}', first {bad[0]}." if bad else ""
    return _check(
        "columns",
        problem,
        "Every line of JSON has its text.",
        "set corpus.column to the key of the text, or mend these lines.",
    )


def _has_blank_lines(corpus: Corpus, found: Found) -> CheckResult:
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


def _has_sentences(corpus: Corpus, found: Found) -> CheckResult:
    length, place = max((reading.longest for reading in found.readings), default=(0, ""))
    most = corpus.max_sentence_characters
    problem = f"{place} begins a line of {length:,} characters, which is no sentence." if length > most else ""
    return _check(
        "sentences",
        problem,
        f"The longest sentence has {length:,} characters.",
        "put one sentence on a line, or set corpus.form to lines or files to have the text cut into sentences (files: "
        "with a blank line between paragraphs); "
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


def _is_one_language(corpus: Corpus, found: Found) -> CheckResult:
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


def _has_no_doubles(found: Found) -> CheckResult:
    problem = f"{found.doubles:,} documents are there twice; each is read once." if found.doubles else ""
    return _check("doubles", problem, "No document is there twice.", "remove them.", rows=found.doubles, stop=False)


def raise_stops(checks: Sequence[CheckResult]) -> None:
    """Raise a DataError that names everything from which nothing can be learned."""
    stops = [check for check in checks if not check.passed and check.severity == "stop"]
    if stops:
        raise DataError(
            "\n".join(check.sentence for check in stops),
            "; ".join(dict.fromkeys(check.hint.rstrip(".") for check in stops)) + ".",
        )
