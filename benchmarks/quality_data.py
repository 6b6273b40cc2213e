"""From the public data sets to the rows of a job, the same for every system: read, drawn by a fixed seed, written.

Where a data set has no test file, its validation file is the test, and validation rows are drawn from the training
rows.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quality_job import JOB, Job, Row, read_jsonl, write_jsonl
from quality_lines import Line

# What a job has from its line as it is.
SAME = ("task_type", "language", "epochs", "batch_size", "learning_rate", "head_learning_rate", "max_length")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SHORTEST = 20  # characters of a sentence that a token is hidden in


def write_job(line: Line, data: Path, base: str, folder: Path, running: Mapping[str, str], nli: Path | None) -> Job:
    """The folder that all systems of a line read.

    Args:
        data: folder of the public data sets.
        running: device and precision.
        nli: folder of the entailment job, for zero-shot with one.
    """
    splits = draw_splits(line, data)
    if line.task_type == "fill_mask":
        splits = _with_masks(splits, base)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    job = Job(
        **{name: getattr(line, name) for name in SAME},
        **{"task": dict(line.task), "base": base, "folder": folder},
        **running,
        labels=_labels(splits),
        nli=None if nli is None else str(nli),
    )
    content = {name: value for name, value in asdict(job).items() if name != "folder"}
    (folder / JOB).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return job


def draw_splits(line: Line, data: Path) -> dict[str, list[Row]]:
    """At most the line's numbers of rows; none is in two splits."""
    place = data / line.data
    if place.is_file():
        pools = {"train": _sentences(place)}
    else:
        found = {split: next(place.glob(f"{split}.*"), None) for split in ("train", "validation", "test")}
        pools = {split: _read(path) for split, path in found.items() if path is not None}
    drawn: dict[str, list[Row]] = {}
    wanted = {"test": line.test_rows, "validation": line.validation_rows, "train": line.rows}
    sources = {"test": ("test", "validation", "train"), "validation": ("validation", "train"), "train": ("train",)}
    for rows in pools.values():
        random.Random(0).shuffle(rows)
    for split, count in wanted.items():
        pool = next(pools[name] for name in sources[split] if pools.get(name))
        drawn[split] = [_named(row, line) for row in pool[:count]]
        if split == "test" and "test" not in pools and "validation" in pools:
            del pools["validation"]  # all of it counts as test rows, also those that were not drawn
        del pool[:count]
    return drawn


def _read(path: Path) -> list[Row]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=DELIMITERS[path.suffix]))


def _sentences(path: Path) -> list[Row]:
    """Sentences of a text file, each once."""
    lines = dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [{"text": line} for line in lines if len(line) >= SHORTEST]


def _named(row: Row, line: Line) -> Row:
    """A row with the project's column names and the line's words for labels."""
    found = {name: row[column] for name, column in line.columns.items()}
    if "label" in found:
        found["label"] = line.words.get(found["label"], found["label"])
    if "value" in found:
        found["value"] = float(found["value"])
    return _cropped(found, line.around) if line.around else found


def _cropped(row: Row, around: int) -> Row:
    """A row of question answering with a part of its context: the answer lies anywhere in it, by a fixed seed."""
    start, text = row["answers"]["answer_start"][0], row["answers"]["text"][0]
    spare = max(0, around - len(text))
    before = random.Random(row["question"]).randint(0, spare)
    first = max(0, min(start - before, len(row["context"]) - around))
    answers = {"text": [text], "answer_start": [start - first]}
    return {**row, "context": row["context"][first : first + max(around, len(text))], "answers": answers}


def _labels(splits: dict[str, list[Row]]) -> list[str]:
    """All labels, as a run file's data.labels would name them."""
    return sorted({label for rows in splits.values() for row in rows for label in _labels_of(row)})


def _labels_of(row: Row) -> Iterator[str]:
    yield from ([row["label"]] if "label" in row else row.get("labels", ()))
    yield from (tag[2:] for tag in row.get("tags", ()) if tag != "O")


def _with_masks(splits: dict[str, list[Row]], base: str) -> dict[str, list[Row]]:
    """Rows of which one whole word is hidden: `masked`, and `token`, what stood there."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    return {
        split: rows if split == "train" else [found for row in rows if (found := _masked(row, tokenizer))]
        for split, rows in splits.items()
    }


def _masked(row: Row, tokenizer: Any) -> Row | None:
    """None where no token of the text is a word of its own."""
    text: str = row["text"]
    encoded = tokenizer(text, truncation=True, max_length=64, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    known = [place for place, number in enumerate(ids) if number != tokenizer.unk_token_id]
    whole = [place for place in known if _is_word(text, pieces, offsets, place)]
    if not whole:
        return None
    place = random.Random(text).choice(whole)
    start, end = offsets[place]
    start += len(text[start:end]) - len(text[start:end].lstrip())
    masked = text[:start] + tokenizer.mask_token + text[end:]
    return {**row, "masked": masked, "token": tokenizer.decode([ids[place]]).strip()}


def _is_word(text: str, pieces: Sequence[str], offsets: Sequence[tuple[int, int]], place: int) -> bool:
    """Whether a token is letters only, not a single Latin one, and neither goes on a word nor is gone on (by ##)."""
    start, end = offsets[place]
    goes_on = any(piece.startswith("##") for piece in pieces[place : place + 2])
    word = text[start:end].strip()
    return word.isalpha() and (len(word) > 1 or not word.isascii()) and not goes_on
