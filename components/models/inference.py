"""Predictions: the one code that the trainer's check, the evaluation, the registry and the endpoint all run.

Windows are sorted by length and padded only to the longest of their batch, then put back in their order. Which engine
computes the network is no matter here: torch in float32, so that a text gets the same answer alone and in any company
(to 1e-4), or a built engine with a tolerance of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import BundleError
from components.models.engines.base import Engine
from components.models.fast_tokenizer import FastTokenizer, padding_of
from components.models.model_directory import Manifest, read_manifest
from components.task_types import Answer, Features, Row, Run, Windows, find_task_type

TOLERANCE = 1e-4  # of a score, between any two ways to ask the same float32 model; its sums come in another order
BATCH_TOKENS = 4096  # padded tokens in a batch: bounds memory for long texts, fills the cores for short ones
BATCH_ROWS = 64
MOST_KEPT = 10_000  # outputs of windows that come again and again


@dataclass(frozen=True, slots=True)
class Shapes:
    """Which batches an engine likes: `row_sizes` windows (any number where there are none), lengths in steps."""

    row_sizes: tuple[int, ...] = ()
    length_step: int = 1

    def rows(self, wanted: int) -> int:
        """The largest liked number of windows that is not above the wanted one."""
        return max((size for size in self.row_sizes if size <= wanted), default=wanted)

    def length(self, tokens: int, longest: int) -> int:
        """Tokens that a window is padded to, at most `longest` unless it is longer itself."""
        return max(tokens, min(-(-tokens // self.length_step) * self.length_step, longest))


class Predictor:
    """A model that answers.

    Args:
        run: the network, on whichever engine.
        tokenizer: of the model: transformers' fast one, or a `FastTokenizer`.
        manifest: what the model directory says about itself.
        engine: that of `run`; None for torch in float32.
        threads: how many the engine may use.
    """

    def __init__(
        self, run: Run, tokenizer: Any, manifest: Manifest, engine: Engine | None = None, threads: int = 1
    ) -> None:
        self.run = run
        self.tokenizer = tokenizer
        self.manifest = manifest
        self.task_type = find_task_type(manifest.task_type)
        self.spec = manifest.spec
        self.tolerance = engine.tolerance_here() if engine else TOLERANCE
        self.at_once = threads if engine and engine.thread_per_batch else 1
        self.shapes = Shapes(engine.row_sizes, engine.length_step) if engine else Shapes()
        self.most_together: tuple[int, int] | None = getattr(run, "most_together", None)
        self.padding = padding_of(tokenizer)
        self.kept: dict[Hashable, NDArray[np.float32]] = {}

    @classmethod
    def of_network(cls, network: Any, tokenizer: Any, manifest: Manifest) -> Predictor:
        """A torch network that answers, in float32."""
        from components.models.engines.torch_engine import TorchRun

        return cls(TorchRun(network, find_task_type(manifest.task_type)), tokenizer, manifest)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Predictor:
        """The model in a directory, computed by torch on `device`.

        Raises:
            BundleError: the manifest is missing or damaged.
        """
        manifest = read_manifest(folder)
        network = find_task_type(manifest.task_type).load_network(folder, manifest.spec)
        return cls.of_network(network.to(device).eval(), load_tokenizer(folder), manifest)

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """What the model says about each row, in their order."""
        if not rows:
            return []
        windows = self.encode(rows)
        return self.conclude(rows, windows, self.outputs_of(windows.features))

    def encode(self, rows: Sequence[Row]) -> Windows:
        """What the network shall read of each row."""
        return self.task_type.encode(self.tokenizer, rows, self.spec)

    def conclude(self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]]) -> list[Answer]:
        """What is said about each row, from the raw outputs of its windows."""
        return self.task_type.answers(rows, self.task_type.combine(rows, windows, outputs, self.spec), self.spec)

    def outputs_of(self, features: Sequence[Features]) -> list[NDArray[np.float32]]:
        """Raw outputs of windows, in their order."""
        result: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(features)
        batches = list(_batches([len(window["input_ids"]) for window in features], self.shapes))
        for batch, outputs in zip(batches, self._outputs_of_batches(features, batches), strict=True):
            for index, output in zip(batch, outputs, strict=True):
                result[index] = output
        return result

    def _outputs_of_batches(
        self, features: Sequence[Features], batches: Sequence[Sequence[int]]
    ) -> Iterator[list[NDArray[np.float32]]]:
        """Raw outputs batch by batch, as many of them at once as the engine has threads for."""
        wanted = ([features[index] for index in batch] for batch in batches)
        if min(self.at_once, len(batches)) <= 1:
            yield from map(self.outputs_of_batch, wanted)
            return
        with ThreadPoolExecutor(self.at_once) as pool:
            yield from pool.map(self.outputs_of_batch, wanted)

    def best_batch(self, wanted: int) -> int:
        """How many of so many windows go well together."""
        return self.shapes.rows(wanted)

    def outputs_of_batch(self, features: Sequence[Features]) -> list[NDArray[np.float32]]:
        """Raw outputs of windows that go through the network together; what comes again and again is kept."""
        keys = [self.task_type.again(window, self.spec) for window in features]
        found = [None if key is None else self.kept.get(key) for key in keys]
        new = [place for place, output in enumerate(found) if output is None]
        if new:
            outputs = self.task_type.ask(self.run, self.pad([features[place] for place in new]), self.tokenizer)
            if len(self.kept) > MOST_KEPT:
                self.kept.clear()
            for place, output in zip(new, outputs, strict=True):
                found[place] = output
                if keys[place] is not None:
                    self.kept[keys[place]] = output
        return [output for output in found if output is not None]

    def pad(self, features: Sequence[Features]) -> dict[str, NDArray[np.int64]]:
        """What the network reads of windows, each filled up to the longest: (windows, tokens)."""
        longest = self.shapes.length(max(len(window["input_ids"]) for window in features), self.spec.max_length)
        names = [name for name in self.tokenizer.model_input_names if name in features[0]]
        padded = {name: np.full((len(features), longest), self.padding.get(name, 0), np.int64) for name in names}
        for name, values in padded.items():
            for line, window in enumerate(features):
                values[line, : len(window[name])] = window[name]
        return padded


def load_tokenizer(folder: Path) -> Any:
    """The transformers tokenizer of a model directory."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def open_predictor(model: Path, engine: Path | None, threads: int) -> Predictor:
    """A model directory that answers through a built engine, or through torch where there is none.

    Args:
        model: the model directory; of a built engine it needs the manifest only.
        engine: folder of the built engine.
        threads: how many the engine may use.

    Raises:
        BundleError: a file is missing or changed, or the engine was built of another model.
    """
    if engine is None:
        from components.models.engines.torch_engine import load_network

        return Predictor(load_network(model, threads), load_tokenizer(model), read_manifest(model))
    from components.models.engines import find_engine, read_facts
    from components.models.model_directory import model_digest

    facts = read_facts(engine)
    if facts.model_digest != model_digest(model):
        raise BundleError(f"The engine in {engine} was built of another model.", "build the bundle again.")
    kind = find_engine(facts.engine)
    tokenizer = FastTokenizer(engine, facts.tokenizer)
    return Predictor(kind.open(engine, model, threads), tokenizer, read_manifest(model), kind, threads)


def _batches(lengths: Sequence[int], shapes: Shapes) -> Iterator[list[int]]:
    """Window numbers in batches of similar length, the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = shapes.rows(max(1, min(BATCH_ROWS, BATCH_TOKENS // lengths[order[start]], len(order) - start)))
        yield order[start : start + size]
        start += size
