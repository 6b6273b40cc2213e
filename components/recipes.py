"""Recipes: all that a version was made from, said so that it can be made again and so that what differs has a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.data.data_files import DataFile
from components.records import Split, TokenizedDataset, ValidatedDataset
from components.step_parts import Inputs, tokenize_step, train_step, validate_step
from components.step_store import Step
from components.training.devices import cpu_flags, cpu_name, usable_threads


@dataclass(frozen=True, slots=True)
class Machine:
    """What the last digits of a sum depend on beside the hardware's kind: processor, its instructions, threads."""

    processor: str
    instructions: tuple[str, ...]
    threads: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a version was made from.

    `config` is the run file as it was read, `folder` where it lay; `labels` are those of the champion of the time;
    `parts` has for each step (validate, tokenize, fine_tune) the digest of each thing that it depends on, by name.
    """

    config: Mapping[str, Any]
    folder: Path
    files: Mapping[Split, tuple[DataFile, ...]]
    labels: tuple[str, ...] | None
    base: str
    base_digest: str
    data_digest: str
    parts: Mapping[str, Mapping[str, str]]
    machine: Machine

    def run_config(self) -> RunConfig:
        """The run file's settings."""
        return RunConfig.model_validate({**self.config, "folder": self.folder})

    def step(self, name: str) -> Step:
        """A step as it was then."""
        return Step(name, self.config["name"], self.parts[name])


def recipe_of(inputs: Inputs, dataset: ValidatedDataset, tokens: TokenizedDataset) -> Recipe:
    """The recipe of what is trained from these rows and tokens."""
    steps = (validate_step(inputs), tokenize_step(inputs, dataset), train_step(inputs, dataset, tokens))
    return Recipe(
        config=inputs.config.model_dump(mode="json"),
        folder=inputs.config.folder,
        files={split: tuple(files) for split, files in inputs.files.items()},
        labels=inputs.champion.labels if inputs.champion else None,
        base=inputs.base.spec,
        base_digest=inputs.base.digest,
        data_digest=dataset.digest,
        parts={step.name: dict(step.parts) for step in steps},
        machine=this_machine(),
    )


def this_machine() -> Machine:
    """What sums depend on here."""
    return Machine(cpu_name(), tuple(sorted(cpu_flags())), usable_threads())
