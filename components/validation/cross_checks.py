"""Checks that compare rows with each other: conflicts, duplicates, and what leaks from held-out rows into training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.config import Data, SplitShares
from components.data.delivery import Delivery
from components.data.text import letters_of_all, normalise_all, split_of_letters
from components.records import SPLITS
from components.validation.checks import NO_ROWS, Integers, Outcome, either
from components.validation.near_duplicates import find_near_duplicates

PASSED = "No row fails."
TRAIN, VALIDATION, TEST = range(3)
CHUNK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Compared:
    """The usable rows as they are compared: `rows` are positions in the delivery, the rest is parallel to it.

    `same` numbers the normalised texts, equal numbers for equal texts; `letters` holds one Arrow array a text column.
    """

    delivery: Delivery
    rows: Integers
    same: Integers
    letters: tuple[Any, ...]

    def only(self, kept: NDArray[np.bool_]) -> Compared:
        """The same without the other rows."""
        return Compared(
            self.delivery,
            self.rows[kept],
            self.same[kept],
            tuple(column.filter(pa.array(kept)) for column in self.letters),
        )


def compare(delivery: Delivery, rows: Integers) -> Compared:
    """Normalise the texts of these rows once, for all checks that compare them."""
    pairs = [_even(delivery.column(role, rows)) for role in delivery.texts]
    joined = (
        pairs[0][0]
        if len(pairs) == 1
        else pc.binary_join_element_wise(*(same for same, _ in pairs), pa.scalar("\x1f", pa.large_string()))
    )
    same = joined.dictionary_encode().indices.to_numpy().astype(np.int64)
    return Compared(delivery, rows, same, tuple(loose for _, loose in pairs))


def conflicting_labels(compared: Compared) -> Outcome:
    """All rows of a text that stands in one delivered split under several labels."""
    delivery, rows = compared.delivery, compared.rows
    labels = delivery.column("label", rows).dictionary_encode().indices.to_numpy()
    text = compared.same * len(SPLITS) + delivery.source()[rows]
    text_and_label = np.unique(text * (int(labels.max(initial=0)) + 1) + labels)
    texts, counts = np.unique(text_and_label // (int(labels.max(initial=0)) + 1), return_counts=True)
    failing = rows[np.isin(text, texts[counts > 1])]
    number = int((counts > 1).sum())
    return Outcome(
        "conflicting_labels",
        passed=not len(failing),
        sentence=f"{number:,} {either(number, 'text is', 'texts are')} labelled in several ways, "
        f"in {len(failing):,} rows."
        if number
        else PASSED,
        hint="decide on one label for each of those texts.",
        rows=failing,
    )


def duplicate_rows(compared: Compared) -> Outcome:
    """Every later row with the text of an earlier row of the same delivered split."""
    rows = compared.rows
    text = compared.same * len(SPLITS) + compared.delivery.source()[rows]
    _, first, group = np.unique(text, return_index=True, return_inverse=True)
    later = np.flatnonzero(first[group] != np.arange(len(rows)))
    originals = compared.delivery.row_ids(rows[first[group[later]]]).to_pylist() if len(later) else []
    return Outcome(
        "duplicate_rows",
        passed=not len(later),
        sentence=f"{len(later):,} of {len(rows):,} rows {either(len(later), 'repeats', 'repeat')} the text of an "
        "earlier row."
        if len(later)
        else PASSED,
        hint="nothing need be done: the first of each is kept.",
        rows=rows[later],
        details={int(row): f"repeats {name}" for row, name in zip(rows[later], originals, strict=True)},
    )


def delivered_splits(compared: Compared) -> Integers:
    """Position in SPLITS of the file that each row came from."""
    return compared.delivery.source()[compared.rows].astype(np.int64)  # type: ignore[no-any-return]


def assign_splits(compared: Compared, config: Data, grouped_by: Sequence[str] = ()) -> Integers:
    """Position in SPLITS of each row: the delivered one, or by its texts where no files are named for a split.

    What people correct is trained on, whatever its text: the frozen rows must not grow with it.

    Args:
        grouped_by: the texts that decide; empty: all of them.
    """
    splits = delivered_splits(compared)
    shares = SplitShares(
        validation=config.split.validation if config.validation is None else 0,
        test=config.split.test if config.test is None else 0,
    )
    divided = (splits == TRAIN) & ~compared.delivery.is_feedback(compared.rows)
    train = np.flatnonzero(divided) if shares.validation or shares.test else NO_ROWS
    letters = dict(zip(compared.delivery.texts, compared.letters, strict=True))
    deciding = [letters[name] for name in grouped_by] or compared.letters
    for start in range(0, len(train), CHUNK_ROWS):
        part = train[start : start + CHUNK_ROWS]
        texts = zip(*(column.take(pa.array(part)).to_pylist() for column in deciding), strict=True)
        splits[part] = [SPLITS.index(split_of_letters("\x1f".join(each), shares)) for each in texts]
    return splits


def leakage(compared: Compared, splits: Integers) -> Outcome:
    """Rows whose normalised text stands in a split that must not know it; the row on the training side fails."""
    in_test = np.isin(compared.same, compared.same[splits == TEST])
    in_validation = np.isin(compared.same, compared.same[splits == VALIDATION])
    train = (splits == TRAIN) & (in_test | in_validation)
    validation = (splits == VALIDATION) & in_test
    failing = np.flatnonzero(train | validation)
    partner = _partners(compared, splits, failing)
    names = compared.delivery.row_ids(compared.rows[partner]).to_pylist() if len(failing) else []
    return Outcome(
        "leakage",
        passed=not len(failing),
        sentence=f"{_counts(train, validation)} the text of a held-out row." if len(failing) else PASSED,
        hint="nothing need be done: the held-out rows stay; find out why the source delivers rows twice.",
        rows=compared.rows[failing],
        details={int(row): f"has the text of {name}" for row, name in zip(compared.rows[failing], names, strict=True)},
    )


def near_duplicates(compared: Compared, splits: Integers, similarity: float, name: str = "near_duplicates") -> Outcome:
    """Rows that are nearly a held-out row; the row on the training side fails."""
    found: dict[int, tuple[int, float]] = {}
    for side, held_out in ((TRAIN, (VALIDATION, TEST)), (VALIDATION, (TEST,))):
        left, right = np.flatnonzero(splits == side), np.flatnonzero(np.isin(splits, held_out))
        pairs = find_near_duplicates(_columns(compared, left), _columns(compared, right), similarity)
        kept = _tells_the_answer(compared, left[pairs.left], right[pairs.right])
        for row, partner, score in zip(
            left[pairs.left[kept]], right[pairs.right[kept]], pairs.similarity[kept], strict=True
        ):
            found[int(row)] = (int(partner), float(score))
    failing = np.array(sorted(found), np.int64)
    partners = compared.rows[np.array([found[row][0] for row in failing.tolist()], np.int64)]
    names = compared.delivery.row_ids(partners).to_pylist() if len(failing) else []
    ours = splits[failing]
    return Outcome(
        name,
        passed=not len(failing),
        sentence=f"{_counts(ours == TRAIN, ours == VALIDATION)} nearly the text of a held-out row."
        if found
        else PASSED,
        hint="nothing need be done: the held-out rows stay; validation.near_duplicate_similarity is the limit.",
        rows=compared.rows[failing],
        details={
            int(compared.rows[row]): f"is nearly {partner} (similarity {found[row][1]:.2f})"
            for row, partner in zip(failing.tolist(), names, strict=True)
        },
    )


def straddling_rows(compared: Compared, splits: Integers, similarity: float) -> Outcome:
    """Near-duplicates that our own split would put on both sides; no fault of the delivery."""
    if np.array_equal(splits, delivered_splits(compared)):
        return Outcome("straddling_rows", True, "All splits are delivered as files.")
    return near_duplicates(compared, splits, similarity, "straddling_rows")


def _tells_the_answer(compared: Compared, ours: Integers, theirs: Integers) -> NDArray[np.bool_]:
    """Pairs of texts are often written as near-duplicates with another label; training on those is no leak."""
    if len(compared.letters) == 1 or "label" not in compared.delivery.roles:
        return np.ones(len(ours), np.bool_)
    left, right = (compared.delivery.column("label", compared.rows[places]) for places in (ours, theirs))
    same: NDArray[np.bool_] = pc.equal(left, right).to_numpy(zero_copy_only=False)
    return same


def _even(column: Any) -> tuple[Any, Any]:
    """Normalised texts and their letters, chunk by chunk, so that few Python strings live at a time."""
    same, loose = [], []
    for start in range(0, max(len(column), 1), CHUNK_ROWS):
        words = normalise_all(column.slice(start, CHUNK_ROWS).to_pylist())
        same.append(pa.array(words, pa.large_string()))
        loose.append(pa.array(letters_of_all(words), pa.large_string()))
    return pa.concat_arrays(same), pa.concat_arrays(loose)


def _columns(compared: Compared, places: Integers) -> list[Any]:
    return [column.take(pa.array(places)) for column in compared.letters]


def _partners(compared: Compared, splits: Integers, failing: Integers) -> Integers:
    """For each failing row the first held-out row of the same text, test before validation."""
    held_out = np.concatenate([np.flatnonzero(splits == TEST), np.flatnonzero(splits == VALIDATION)])
    texts, first = np.unique(compared.same[held_out], return_index=True)
    found: Integers = held_out[first[np.searchsorted(texts, compared.same[failing])]]
    return found


def _counts(train: NDArray[np.bool_], validation: NDArray[np.bool_]) -> str:
    counts = [(int(train.sum()), "train"), (int(validation.sum()), "validation")]
    return " and ".join(
        f"{count:,} {split} {either(count, 'row has', 'rows have')}" for count, split in counts if count
    )
