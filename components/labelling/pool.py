"""The pool: unlabelled rows of a file or the request log, without those that are labelled, frozen, or there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.data.text import letters_of_all, normalise_all
from components.errors import DataError
from components.models.prediction import one_file, rows_of
from components.monitoring.request_lines import read_texts
from components.records import SPLITS, Split, ValidatedDataset
from components.validation.near_duplicates import find_near_duplicates

# Why a row is left out, in the order in which it is looked at.
NO_TEXT, TWICE, TRAINED_ON, HELD_OUT, NEARLY = (
    "without a text",
    "there twice",
    "in the training data",
    "held-out rows",
    "nearly held-out rows",
)


@dataclass(frozen=True, slots=True)
class Pool:
    """`rows` are what the model reads, `names` are their `file:line` or `log:request`.

    `left_out` counts the others by the reason.
    """

    rows: tuple[Mapping[str, str], ...]
    names: tuple[str, ...]
    left_out: Mapping[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """The texts of each split, a tuple for each row, and from which similarity on two count as the same."""

    texts: Mapping[Split, Sequence[tuple[str, ...]]]
    similarity: float


def known_texts(dataset: ValidatedDataset, columns: Sequence[str], similarity: float) -> KnownTexts:
    """The texts of a data set.

    Args:
        columns: the texts of a row, in the order of the model's segments.
        similarity: `validation.near_duplicate_similarity`.
    """
    import pyarrow.parquet as pq

    texts: dict[Split, list[tuple[str, ...]]] = {}
    for split in SPLITS:
        table = pq.read_table(dataset.split_file(split), columns=list(columns))
        texts[split] = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
    return KnownTexts(texts, similarity)


def read_pool(source: Path, columns: Mapping[str, str], known: KnownTexts) -> Pool:
    """The rows of a file that are worth a look.

    Args:
        columns: the texts of a row: our names to those of the file.

    Raises:
        DataError: the file cannot be read, lacks a column, or has no row that is left.
    """
    file = one_file(source)
    found = rows_of(file, columns, {})
    return _pool_of(file.name, [(f"{file.name}:{line}", row) for line, row, _ in found], columns, known)


def read_logged_pool(logs: Sequence[Path], columns: Sequence[str], known: KnownTexts) -> Pool:
    """What the endpoint was asked and wrote down with its texts, without what is not worth a look.

    Args:
        logs: request logs, by the names that they are written under.
        columns: the texts of a row, by our names.

    Raises:
        DataError: a log cannot be read, no texts are in it, or no row is left.
    """
    found = list(read_texts(logs))
    if not found:
        raise DataError(
            f"No texts are in {', '.join(log.name for log in logs)}.",
            "have some written down: set serving.log_texts of the run file, such as 0.05, and serve the version again.",
        )
    rows = [(name, _texts_of(row, columns)) for name, row in found]
    return _pool_of(" and ".join(log.name for log in logs), rows, columns, known)


def _texts_of(row: Mapping[str, Any], columns: Sequence[str]) -> Mapping[str, str] | None:
    texts = {name: str(row.get(name) or "") for name in columns}
    return texts if all(text.strip() for text in texts.values()) else None


def _pool_of(
    source: str, found: Sequence[tuple[str, Mapping[str, str] | None]], columns: Iterable[str], known: KnownTexts
) -> Pool:
    left_out = Counter({NO_TEXT: sum(row is None for _, row in found)})
    whole = [(name, row) for name, row in found if row is not None]
    reasons = _reasons([tuple(row[name] for name in columns) for _, row in whole], known)
    left_out.update(reason for reason in reasons if reason)
    kept = [each for each, reason in zip(whole, reasons, strict=True) if not reason]
    if not kept:
        raise DataError(
            f"{source} has no row to label: of {len(found):,} rows {left_out_in_words(left_out)}.",
            "name a file with other texts.",
        )
    return Pool(
        rows=tuple(row for _, row in kept),
        names=tuple(name for name, _ in kept),
        left_out={reason: count for reason, count in left_out.items() if count},
        total=len(found),
    )


def left_out_in_words(left_out: Mapping[str, int]) -> str:
    """How many rows are left out for which reason."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.items() if count)


def _reasons(texts: Sequence[tuple[str, ...]], known: KnownTexts) -> list[str]:
    """Why each row is left out; empty for those that stay."""
    ours = _even(texts)
    trained = set(_even(known.texts["train"]))
    held_out = set(_even([*known.texts["validation"], *known.texts["test"]]))
    seen: set[str] = set()
    reasons = []
    for text in ours:
        reason = HELD_OUT if text in held_out else TRAINED_ON if text in trained else TWICE if text in seen else ""
        seen.add(text)
        reasons.append(reason)
    left = [place for place, reason in enumerate(reasons) if not reason]
    for place in _nearly(
        [texts[place] for place in left], [*known.texts["validation"], *known.texts["test"]], known.similarity
    ):
        reasons[left[place]] = NEARLY
    return reasons


def _nearly(ours: Sequence[tuple[str, ...]], theirs: Sequence[tuple[str, ...]], similarity: float) -> list[int]:
    """Positions of rows that validation would set aside after they were labelled."""
    if not ours or not theirs:
        return []
    left, right = ([_letters(column) for column in zip(*side, strict=True)] for side in (ours, theirs))
    found: list[int] = find_near_duplicates(left, right, similarity).left.tolist()
    return found


def _even(texts: Sequence[tuple[str, ...]]) -> list[str]:
    """One normalised string a row, as validation compares them."""
    if not texts:
        return []
    columns = [normalise_all(list(column)) for column in zip(*texts, strict=True)]
    return ["\x1f".join(parts) for parts in zip(*columns, strict=True)]


def _letters(column: Sequence[str]) -> Any:
    return pa.array(letters_of_all(normalise_all(list(column))), pa.large_string())
