"""Predictions: the one code that the trainer's check, the evaluation, the registry and the endpoint all run.

Windows are sorted by length and padded only to the longest of their batch, then put back in their order. Numbers are
float32 whatever the training used, so that a text gets the same answer alone and in any company (to 1e-4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.models.model_directory import Manifest, read_manifest
from components.task_types import Answer, Features, Row, find_task_type

TOLERANCE = 1e-4  # of a score, between any two ways to ask the same model; float32 sums in another order
BATCH_TOKENS = 4096  # padded tokens in a batch: bounds memory for long texts, fills the cores for short ones
BATCH_ROWS = 64


class Predictor:
    """A model directory that answers.

    Args:
        network: a transformers model in evaluation mode, in float32.
        tokenizer: its fast tokenizer.
        manifest: what the model directory says about itself.
    """

    def __init__(self, network: Any, tokenizer: Any, manifest: Manifest) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.task_type = find_task_type(manifest.task_type)
        self.spec = manifest.spec

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Predictor:
        """The model in a directory, ready to answer on `device`.

        Raises:
            BundleError: the manifest is missing or damaged.
        """
        from transformers import AutoTokenizer

        manifest = read_manifest(folder)
        network = find_task_type(manifest.task_type).load_network(folder, manifest.spec)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return cls(network.to(device).eval(), tokenizer, manifest)

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """What the model says about each row, in their order."""
        if not rows:
            return []
        windows = self.task_type.encode(self.tokenizer, rows, self.spec)
        outputs = self.task_type.combine(rows, windows, self.outputs_of(windows.features), self.spec)
        return self.task_type.answers(rows, outputs, self.spec)

    def outputs_of(self, features: Sequence[Features]) -> list[NDArray[np.float32]]:
        """Raw outputs of windows, in their order."""
        import torch

        result: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(features)
        names = [name for name in self.tokenizer.model_input_names if features and name in features[0]]
        with torch.inference_mode():
            for batch in _batches([len(window["input_ids"]) for window in features]):
                read = [{name: features[index][name] for name in names} for index in batch]
                inputs = self.tokenizer.pad(read, return_tensors="pt").to(self.network.device)
                outputs = self.task_type.split(self.task_type.forward(self.network, inputs), inputs)
                for index, output in zip(batch, outputs, strict=True):
                    result[index] = output
        return result


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Window numbers in batches of similar length, the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, min(BATCH_ROWS, BATCH_TOKENS // lengths[order[start]]))
        yield order[start : start + size]
        start += size
