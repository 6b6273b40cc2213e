"""What goes through the methods of a task type: rows, windows, answers, and what a model's answers depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Any]  # by the names of the project: those of `TaskType.texts`, label, options of a request
Features = dict[str, list[int]]  # of one window: one number a token in each list
Answer = Mapping[str, Any]  # what a model says about one row, in JSON's values
Outputs = Any  # what the network gave, one item a row: an array or a list; each type has its own
Arrays = Mapping[str, NDArray[np.int64]]  # a padded batch of windows, by the network's names: (windows, tokens) each
# The network, whichever engine computes it: a batch in, what `TaskType.forward` gives out.
Run = Callable[[Arrays], NDArray[np.float32]]
Numbers = NDArray[np.float64]
READING = 100  # what one reading by the network costs beside its characters, in characters
# The metric on resampled rows: how often each row is drawn (resamplings, rows) in, one value a resampling out.
Statistic = Callable[[Numbers], Numbers]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the data files, by the project's name for it.

    `kind` says how values are read: "text" must be text; in "word" a number or true/false counts as its word; "json" is
    a list or an object, or text that spells one. An `optional` column is read where `data.columns` names it.
    """

    role: str
    kind: Literal["text", "word", "json"] = "text"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a row: one of `TaskType.faults`, from which nothing can be learned, or of `TaskType.mended`.

    `row` is what is read of a mended one.
    """

    check: str
    reason: str
    row: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Windows:
    """Rows as the network reads them, a long one in several overlapping windows.

    `features` are those of each window, `rows` the position of its row, ascending; `cut` counts rows of which a part is
    in no window. `notes` are what `combine` must know of each row beside its windows; windows from files have none.
    `long` counts rows that are read in several windows, where not every row with more than one is.
    """

    features: list[Features]
    rows: list[int]
    cut: int = 0
    notes: Sequence[Any] = ()
    long: int | None = None

    def long_rows(self) -> int:
        """Rows whose text is read in several windows."""
        return several(self.rows) if self.long is None else self.long


def several(numbers: Sequence[int]) -> int:
    """How many numbers occur more than once."""
    if len(set(numbers)) == len(numbers):
        return 0
    return sum(count > 1 for count in Counter(numbers).values())


@dataclass(frozen=True, slots=True)
class Spec:
    """What a model's answers depend on beside its weights: part of the manifest.

    `settings` is the run file's section `task`; `fitted` is what was fitted on the validation rows, such as a
    temperature, by the names that the type gives it.
    """

    labels: tuple[str, ...]
    max_length: int
    window_overlap: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)


def json_text(value: Any) -> str:
    """A value as the JSON text that labels and decisions are kept in."""
    import json

    return json.dumps(value, ensure_ascii=False, sort_keys=True)
