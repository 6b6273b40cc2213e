"""Token ids in memory-mapped Arrow files, and their batches: training draws them, evaluation sorts by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.records import Split, TokenizedDataset
from components.task_types import TaskType, Windows
from components.training.tokenization import ARROW_FILE

if TYPE_CHECKING:
    import torch

NOT_FEATURES = ("labels", "length", "row")
IGNORED = -100  # a target that no loss counts


class TokenTable:
    """The windows of one split: `lengths`, `rows` and `groups` (windows,), and each window's features and targets.

    Args:
        path: an Arrow file that `tokenize_dataset` has written.
        task_type: says what shape the targets have.
        tokenizer: says what the network reads, and how it is padded.
    """

    def __init__(self, path: Path, task_type: TaskType, tokenizer: Any) -> None:
        import pyarrow as pa

        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        self.shape = task_type.targets_are
        self.inputs = [name for name in tokenizer.model_input_names if name in table.column_names]
        self.padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        self.lengths: NDArray[np.int32] = table["length"].to_numpy()
        self.rows: NDArray[np.int64] = table["row"].to_numpy()
        self.groups = self.rows if task_type.windows_share_target else np.arange(len(self.lengths))
        self.starts = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        self.flat = {name: _flat_values(table[name]) for name in table.column_names if name not in NOT_FEATURES}
        self.targets = _flat_values(table["labels"])  # one after the other, whatever their shape

    @classmethod
    def of_split(cls, tokens: TokenizedDataset, split: Split, task_type: TaskType, tokenizer: Any) -> TokenTable:
        """The windows of a split."""
        return cls(tokens.folder / split / ARROW_FILE, task_type, tokenizer)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        """A window is known by its number; `batch` looks its values up, many at once."""
        return index

    @property
    def drawn(self) -> int:
        """How many windows an epoch of training has."""
        return len(np.unique(self.groups))

    @property
    def drawn_targets(self) -> NDArray[Any]:
        """The targets of what an epoch has: one of each row where its windows share it; long ones count once."""
        if self.shape == "tokens":
            return self.targets
        first = np.flatnonzero(np.diff(self.groups, prepend=-1))
        drawn: NDArray[Any] = self.targets.reshape(len(self), -1)[first].ravel()
        return drawn

    def windows(self) -> Windows:
        """Everything as the task type has encoded it."""
        spans = list(zip(self.starts[:-1], self.starts[1:], strict=True))
        features = [{name: flat[a:b].tolist() for name, flat in self.flat.items()} for a, b in spans]
        return Windows(features, self.rows.tolist())

    def batch(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        """What the network reads, int64 (windows, longest of them), and `labels`; no mask where nothing is padded."""
        import torch

        length = int(self.lengths[places].max())
        padded = length != int(self.lengths[places].min())
        inputs = [name for name in self.inputs if padded or name != "attention_mask"]
        found = {name: self._padded(self.flat[name], places, length, self.padding.get(name, 0)) for name in inputs}
        return {name: torch.from_numpy(values) for name, values in {**found, "labels": self._labels(places)}.items()}

    def _labels(self, places: Sequence[int]) -> NDArray[Any]:
        """Targets (windows,), (windows, width) or (windows, longest of them)."""
        if self.shape == "tokens":
            return self._padded(self.targets, places, int(self.lengths[places].max()), IGNORED)
        vectors = self.targets.reshape(len(self), -1)[places]
        return vectors[:, 0] if self.shape == "one" else vectors

    def _padded(self, flat: NDArray[Any], places: Sequence[int], length: int, filler: int) -> NDArray[np.int64]:
        padded = np.full((len(places), length), filler, np.int64)
        for line, place in enumerate(places):
            start, end = self.starts[place], self.starts[place + 1]
            padded[line, : end - start] = flat[start:end]
        return padded


def _flat_values(column: Any) -> NDArray[Any]:
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, np.int32)


class ShuffledBatches:
    """Window numbers of each training step, in another order in every epoch: one window of each group.

    What is drawn depends on the seed and the epoch alone, so that a training that goes on in the middle of an epoch
    sees what it has not seen yet.

    Args:
        groups: (windows,) ascending numbers; of the windows with the same number, each epoch draws one.
        lengths: (windows,) a window's chance is its share of the group's tokens.
        size: windows in a batch; the last one of an epoch may have fewer.
        seed: of the order.
    """

    def __init__(self, groups: NDArray[np.int64], lengths: NDArray[np.int32], size: int, seed: int) -> None:
        self.starts = np.flatnonzero(np.diff(groups, prepend=-1))
        self.ends = np.cumsum(lengths, dtype=np.int64)  # of each window, in tokens
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.starts) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.starts))
        drawn = self._drawn(random)[order]
        yield from (drawn[start : start + self.size].tolist() for start in range(0, len(drawn), self.size))

    def _drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """A window of each group: the one with a token that is drawn from all of the group's."""
        before = np.concatenate([[0], self.ends])
        tokens = random.integers(before[self.starts], before[np.append(self.starts[1:], len(self.ends))])
        windows: NDArray[np.int64] = np.searchsorted(self.ends, tokens, side="right")
        return windows


def sorted_batches(lengths: NDArray[np.int32], tokens: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most so many padded tokens, the longest rows first."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size].tolist()
        start += size
