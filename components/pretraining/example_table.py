"""Batches of training sequences, put together from the corpus' tokens and masked when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from components.pretraining.masks import MaskRule, hide
from components.pretraining_config import PretrainingConfig
from components.records import PretrainingExamples, Split

if TYPE_CHECKING:
    import torch

WINDOW_STEPS = 50  # sequences of so many steps are sorted by length together


class ExampleTable:
    """The sequences of one split and phase: `lengths` (sequences,) in tokens with [CLS] and [SEP].

    A sequence is asked for by `epoch * len(table) + its number`, so that each epoch hides other tokens.

    Args:
        folder: of the examples.
        phase: number of the phase, from 1.
        tokenizer: says what [CLS], [SEP], [MASK] and the padding are, and what the network reads.
    """

    def __init__(self, folder: Path, split: Split, phase: int, tokenizer: Any, config: PretrainingConfig) -> None:
        tokens = _columns(folder / split / "tokens.arrow")
        self.ids, self.follows = tokens["ids"], tokens.get("follows")
        self.places = _columns(folder / split / f"phase-{phase}.arrow")
        self.next_sentence = config.examples.next_sentence
        self.static = config.examples.masking == "static" or split != "train"
        self.tokenizer = tokenizer
        self.inputs = set(tokenizer.model_input_names)
        self.special = np.zeros(len(tokenizer), bool)
        self.special[tokenizer.all_special_ids] = True
        self.rule = MaskRule(
            share=config.examples.mask_share,
            mask=tokenizer.mask_token_id,
            ordinary=np.flatnonzero(~self.special),
            whole_words=config.examples.whole_words != "none",
            seed=config.training.seed,
        )
        lengths = self._of_a() + self._of_b() + (3 if self.next_sentence else 2)
        self.lengths: NDArray[np.int32] = lengths.astype(np.int32)

    @classmethod
    def of_phase(
        cls, examples: PretrainingExamples, split: Split, phase: int, tokenizer: Any, config: PretrainingConfig
    ) -> ExampleTable:
        """The sequences of a split."""
        return cls(examples.folder, split, phase, tokenizer, config)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> int:
        """A sequence is known by its number; `batch` looks many up at once."""
        return index

    def batch(self, places: Sequence[int] | NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """What the network reads, int64 (sequences, longest of them), with `labels`, -100 where nothing is hidden.

        With next-sentence prediction also `next_sentence_label` (sequences,): 1 where the second segment is random.
        """
        import torch

        epochs, numbers = np.divmod(np.asarray(places, np.int64), len(self))
        if self.static:
            epochs = np.zeros_like(epochs)
        ids, follows, segments = self._assembled(numbers)
        lengths = self.lengths[numbers].astype(np.int64)
        hidden, truths = hide(ids, lengths, self.special[ids], follows, numbers, epochs, self.rule)
        found: dict[str, NDArray[Any]] = {"input_ids": hidden, "labels": truths}
        if "token_type_ids" in self.inputs:
            found["token_type_ids"] = segments
        if lengths.min() != ids.shape[1]:
            found["attention_mask"] = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        if self.next_sentence:
            found["next_sentence_label"] = self.places["random"][numbers].astype(np.int64)
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def plain(self, number: int) -> NDArray[np.int64]:
        """The ids of a sequence with nothing hidden."""
        line: NDArray[np.int64] = self._assembled(np.array([number]))[0][0]
        return line

    def _assembled(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Ids, flags of what goes on with a word, and segments, (sequences, longest of them) each."""
        a, b = self._of_a()[numbers][:, None], self._of_b()[numbers][:, None]
        place = np.arange(int(self.lengths[numbers].max()))[None]
        in_a = (place >= 1) & (place <= a)
        in_b = (place >= a + 2) & (place <= a + b + 1) if self.next_sentence else np.zeros(in_a.shape, bool)
        source = np.where(
            in_a,
            self.places["a_start"][numbers][:, None] + place - 1,
            self.places["b_start"][numbers][:, None] + place - a - 2,
        )
        text = in_a | in_b
        found = np.take(self.ids, source, mode="clip")  # what is read beside the text is overwritten
        ids = np.where(text, found, self.tokenizer.pad_token_id).astype(np.int64, copy=False)
        ids[:, 0] = self.tokenizer.cls_token_id
        ends = (place == a + 1) | ((place == a + b + 2) & self.next_sentence)
        ids[ends] = self.tokenizer.sep_token_id
        follows = np.zeros(text.shape, bool)
        if self.follows is not None:
            follows = text & (np.take(self.follows, source, mode="clip") > 0)
        segments = ((place >= a + 2) & (place <= a + b + 2) & self.next_sentence).astype(np.int64)
        return ids, follows, segments

    def _of_a(self) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self.places["a_end"] - self.places["a_start"]
        return lengths

    def _of_b(self) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = self.places["b_end"] - self.places["b_start"]
        return lengths


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of an Arrow file that was written at once; numbers are mapped, not read."""
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all().combine_chunks()
    return {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in table.column_names}


class SharedBatches:
    """The batches of one process: its share of every step's sequences, which together are the same for any number.

    Sequences of similar length are in one step, since padding is work for nothing. The order depends on the seed and
    the epoch alone; the last step of an epoch is filled up with sequences of the same epoch.

    Args:
        lengths: of the sequences.
        size: sequences a step, of all processes and parts together.
        parts: in which a process reads its share of a step, one after the other.
    """

    def __init__(self, lengths: NDArray[np.int32], size: int, parts: int, seed: int, rank: int, processes: int) -> None:
        self.lengths, self.size, self.seed, self.epoch = lengths, size, seed, 0
        self.parts, self.rank, self.processes = parts, rank, processes

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * len(self.lengths)
        share = self.size // (self.parts * self.processes)
        for step in self._steps():
            for part in range(self.parts):
                begin = (part * self.processes + self.rank) * share
                yield (first + step[begin : begin + share]).tolist()

    def _steps(self) -> NDArray[np.int64]:
        """Numbers of sequences, (steps, size)."""
        draw = np.random.default_rng([self.seed, self.epoch])
        steps = -(-len(self.lengths) // self.size)
        order = np.resize(draw.permutation(len(self.lengths)), steps * self.size)
        window = self.size * min(WINDOW_STEPS, max(1, steps // 4))
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        found: NDArray[np.int64] = order.reshape(steps, self.size)[draw.permutation(steps)]
        return found


class EpochLoader(DataLoader[Any]):
    """A loader that tells its batches which epoch it is."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
