"""Which labels the true answers of a delivery name, which of them are known, and which are only spelled otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.text import normalised
from components.task_types import TaskType
from components.validation.checks import Integers

# Spelled out, because Python's and Arrow's regular expressions differ in what \s and \w hold.
BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
BLANKS += "\u2009\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u2800\u3000\u3164\ufeff"
NO_ANSWER = -1


@dataclass(frozen=True, slots=True)
class LabelWords:
    """The labels of rows: `different` holds those of each different answer, `answers` its position in it by row.

    A row without an answer has NO_ANSWER.
    """

    different: tuple[tuple[str, ...], ...]
    answers: Integers

    def only(self, rows: Any) -> LabelWords:
        """The same for some of the rows, by positions or a mask."""
        return LabelWords(self.different, self.answers[rows])

    def count(self) -> Counter[str]:
        """Rows of each label; one with several labels counts for each of them."""
        counts: Counter[str] = Counter()
        for answer, rows in zip(*np.unique(self._given(), return_counts=True), strict=True):
            for word in self.different[answer]:
                counts[word] += int(rows)
        return counts

    def different_answers(self) -> int:
        """How many answers there are that are not the same."""
        return len(np.unique(self._given()))

    def first_among(self, words: Container[str]) -> Any:
        """The first label of each row that is among these words, null where none is; an Arrow array."""
        found = [next((word for word in answer if word in words), None) for answer in self.different]
        places = pa.array(self.answers, mask=self.answers == NO_ANSWER)
        return pa.array(found, pa.large_string()).take(places)

    def _given(self) -> Integers:
        given: Integers = self.answers[self.answers != NO_ANSWER]
        return given


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels that may occur, sorted, and other spellings of them that do occur with the label that is meant."""

    known: tuple[str, ...]
    spellings: Mapping[str, str]


def label_words(labels: Any, task_type: TaskType) -> LabelWords:
    """The labels in a column of true answers, an Arrow array."""
    encoded = filled(labels).dictionary_encode()
    # Of a million rows only the different answers are taken apart.
    different = tuple(tuple(dict.fromkeys(task_type.words(answer))) for answer in encoded.dictionary.to_pylist())
    answers = pc.fill_null(encoded.indices, NO_ANSWER).to_numpy(zero_copy_only=False).astype(np.int64)
    return LabelWords(different, answers)


def find_labels(words: LabelWords, in_train: Any, declared: Sequence[str] | None) -> LabelSet:
    """The labels that may occur: the declared ones, else those in train.

    Of several spellings in train the most frequent counts.

    Args:
        words: those of all rows.
        in_train: mask of the training rows.
        declared: labels of the run file or of the live model.
    """
    known = list(declared or _best_spellings(words.only(in_train).count()))
    by_form = {normalised(label): label for label in known}
    strange = sorted(set(words.count()) - set(known))
    spellings = {label: by_form[normalised(label)] for label in strange if normalised(label) in by_form}
    return LabelSet(tuple(sorted(known)), spellings)


def _best_spellings(counts: Counter[str]) -> list[str]:
    # A label whose spelling is told apart by case or spaces alone is one label, written carelessly.
    best: dict[str, str] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        best.setdefault(normalised(label), label)
    return list(best.values())


def filled(column: Any) -> Any:
    """The column with null for what is empty or blank."""
    not_blank = pc.fill_null(pc.not_equal(pc.utf8_trim(column, characters=BLANKS), ""), False)
    return pc.if_else(not_blank, column, pa.scalar(None, pa.large_string()))
