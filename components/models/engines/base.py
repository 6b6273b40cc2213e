"""What an engine is, and the folder that a built one lies in.

A built engine is a folder with the engine's own files, `tokenizer.json`, golden rows with its own answers, and
`engine.json`, written last, which names the engine, what its tokenizer must know, and the digest of every other file.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.digests import canonical, digest_file, digest_files
from components.errors import BundleError
from components.models.fast_tokenizer import TokenizerFacts
from components.task_types.base import Arrays, Run, TaskType

FACTS = "engine.json"


class EngineFacts(BaseModel):
    """What `engine.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    model_digest: str
    tokenizer: TokenizerFacts
    files: Mapping[str, str] = Field(default_factory=dict, description="SHA-256 of every other file")


@dataclass(frozen=True, slots=True)
class Source:
    """What an engine is built from.

    Args:
        network: the float32 torch network in evaluation mode.
        task_type: asks it.
        batches: what the network is given for some training rows, each as `Run` gets it.
    """

    network: Any
    task_type: TaskType
    batches: Sequence[Arrays]


class Engine(ABC):
    """A way to compute a network.

    `tolerance` is the largest difference of a score between two ways to ask it (alone, in company, on the same kind of
    machine); `drift` the largest from the trainer's float32 network for a row whose decision is clear.
    """

    name: str
    quantised: bool = False  # whether it needs training rows to be built
    reads_weights: bool = False  # whether it needs those of the model directory
    packages: tuple[str, ...]  # distributions that serving needs for it
    tolerance: float
    drift: float
    thread_per_batch: bool = False  # whether a batch keeps one thread busy, so that several go beside each other
    row_sizes: tuple[int, ...] = ()  # numbers of windows in a batch that it likes; any where it is empty
    length_step: int = 1  # windows are padded to a multiple of so many tokens

    def tolerance_here(self) -> float:
        """The tolerance on this machine, which may round otherwise than the one that the engine was measured on."""
        return self.tolerance

    @abstractmethod
    def is_useful(self) -> bool:
        """Whether this machine has what makes it worth while."""

    @abstractmethod
    def build(self, source: Source, folder: Path) -> None:
        """Write its own files into `folder`."""

    @abstractmethod
    def open(self, folder: Path, model: Path, threads: int) -> Run:
        """The network that was built in `folder`, ready to run; safe to call from several threads at once.

        Args:
            model: the model directory, with torch's weights if the engine `reads_weights`.
            threads: how many it may use.
        """


def write_facts(folder: Path, facts: EngineFacts) -> str:
    """Write `engine.json` over the files in `folder`, last of all; returns the engine's digest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != FACTS)
    complete = facts.model_copy(update={"files": digest_files(files, folder)})
    (folder / FACTS).write_text(canonical(complete.model_dump(mode="json")), encoding="utf-8")
    return digest_file(folder / FACTS)


def read_facts(folder: Path) -> EngineFacts:
    """What a built engine says, after every file has been compared with its digest.

    Raises:
        BundleError: a file is missing, changed, or was added.
    """
    try:
        facts = EngineFacts.model_validate(json.loads((folder / FACTS).read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise BundleError(f"{folder} holds no engine, or its {FACTS} is damaged.", "build the bundle again.") from error
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != FACTS)
    found = digest_files(files, folder)
    wrong = sorted(name for name in facts.files.keys() | found if facts.files.get(name) != found.get(name))
    if wrong:
        raise BundleError(
            f"{folder} is not what was built: {', '.join(wrong)} changed, is missing or was added.",
            "build the bundle again.",
        )
    return facts
