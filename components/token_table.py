"""Token ids in memory-mapped Arrow files, and the batches of similar length that training and evaluation take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.records import Split, TokenizedDataset
from components.task_types import Features
from components.tokenization import ARROW_FILE

if TYPE_CHECKING:
    import torch

# Rows of so many batches are shuffled together and sorted by length: enough to leave next to no padding.
WINDOW_BATCHES = 50
NOT_FEATURES = ("labels", "length")


class TokenTable:
    """The rows of one split: `lengths` and `targets` (rows,), and each row's features.

    Args:
        path: an Arrow file that `tokenize_dataset` has written.
        padding: value that fills each feature behind a row's end.
    """

    def __init__(self, path: Path, padding: dict[str, int]) -> None:
        import pyarrow as pa

        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        self.padding = padding
        self.lengths: NDArray[np.int32] = table["length"].to_numpy()
        self.targets: NDArray[np.int64] = table["labels"].to_numpy()
        self.starts = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        names = [name for name in table.column_names if name not in NOT_FEATURES]
        self.flat = {name: _flat_values(table[name]) for name in names}

    @classmethod
    def of_split(cls, tokens: TokenizedDataset, split: Split, tokenizer: Any) -> TokenTable:
        """The rows of a split, padded as their tokenizer pads."""
        padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        return cls(tokens.folder / split / ARROW_FILE, padding)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        """A row is known by its number; `batch` looks its values up, many at once."""
        return index

    def features(self) -> list[Features]:
        """Every row's features as lists, in the rows' order."""
        spans = list(zip(self.starts[:-1], self.starts[1:], strict=True))
        return [{name: flat[a:b].tolist() for name, flat in self.flat.items()} for a, b in spans]

    def batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Features and labels of the rows, int64 (rows, longest of them); no attention mask where nothing is padded."""
        import torch

        length = int(self.lengths[rows].max())
        unneeded = "attention_mask" if int(self.lengths[rows].min()) == length else None
        result = {}
        for name, flat in self.flat.items():
            if name == unneeded:
                continue
            padded = np.full((len(rows), length), self.padding.get(name, 0), np.int64)
            for place, row in enumerate(rows):
                start, end = self.starts[row], self.starts[row + 1]
                padded[place, : end - start] = flat[start:end]
            result[name] = torch.from_numpy(padded)
        return {**result, "labels": torch.from_numpy(self.targets[rows])}


def _flat_values(column: Any) -> NDArray[Any]:
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, np.int32)


class ShuffledBatches:
    """Row numbers of each training step: another order in every epoch, rows of similar length together.

    The order depends on the seed and the epoch alone, so that a training that goes on in the middle of an epoch sees
    the rows that it has not seen yet.

    Args:
        lengths: (rows,) in tokens.
        size: rows in a batch; the last one of an epoch may have fewer.
        seed: of the order.
    """

    def __init__(self, lengths: NDArray[np.int32], size: int, seed: int) -> None:
        self.lengths, self.size, self.seed, self.epoch = lengths, size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.lengths))
        window = self.size * min(WINDOW_BATCHES, max(1, len(self) // 4))
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        batches = [order[start : start + self.size].tolist() for start in range(0, len(order), self.size)]
        yield from (batches[index] for index in draw.permutation(len(batches)))


def sorted_batches(lengths: NDArray[np.int32], tokens: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most so many padded tokens, the longest rows first."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size].tolist()
        start += size
