"""What each step of a run depends on, and so which steps a run would do and which it would find done.

A step's parts are named as a person would say what changed: `data.train`, `training`, `base model`, `code`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from components.config import RunConfig
from components.data.data_files import DataFile
from components.digests import digest_code, digest_of, digest_once
from components.records import (
    SPLITS,
    BaseModel,
    EvaluationReport,
    PromotionDecision,
    Split,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from components.step_store import Step, StepStore

Record = TypeVar("Record")
STEPS = ("validate", "tokenize", "fine_tune", "evaluate", "register", "decide", "bundle", "prove", "promote")


@dataclass(frozen=True, slots=True)
class Champion:
    """What a run must know of the model that is live: `folder` is its model directory, `digest` that directory's."""

    version: int
    run_id: str
    digest: str
    labels: tuple[str, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run starts from, looked up once: whatever changes later belongs to the next run.

    `rolled_back` has the reason for each model that a person took back, by its digest; `hardware` is the device's kind
    and the precision, such as "cpu fp32".
    """

    config: RunConfig
    files: Mapping[Split, Sequence[DataFile]]
    base: BaseModel
    champion: Champion | None
    rolled_back: Mapping[str, str]
    hardware: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One line of a plan."""

    name: str
    action: Literal["run", "reuse", "skip"]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do. `unchanged` says in one sentence why there is nothing to do, or is None."""

    steps: tuple[PlannedStep, ...]
    unchanged: str | None


def validate_step(inputs: Inputs) -> Step:
    """Validation depends on the files' content, on how they are read and checked, and on the tokenizer."""
    config, champion = inputs.config, inputs.champion
    settings = config.data.model_dump(mode="json", exclude={"train", "validation", "test"})
    parts = {f"data.{split}": _content(files) for split, files in inputs.files.items()} | {
        "data": digest_of(settings),
        "validation": _section(config.validation),
        "model.max_length": str(config.model.max_length),
        "model.window_overlap": str(config.model.window_overlap),
        "task": digest_of(config.task),
        "evaluation.slices": digest_of(config.evaluation.slices),
        "tokenizer": inputs.base.tokenizer_digest,
        "champion's labels": digest_of(champion.labels if champion else None),
        "code": _code("components.validation.examination", config),
        "libraries": _versions("great-expectations", "numpy", "pandas", "pyarrow", "tokenizers", "transformers"),
    }
    return Step("validate", config.name, parts)


def find_validated(inputs: Inputs, store: StepStore) -> ValidatedDataset | None:
    """The finished validation of these inputs.

    One that was made without a champion counts where it found just the champion's labels: so the first run after a
    first promotion has nothing to do.
    """
    champion = inputs.champion
    for standard in (champion, None):
        found = store.find(validate_step(replace(inputs, champion=standard)), ValidatedDataset)
        if found and (standard is champion or (champion and found.labels == champion.labels)):
            return found
    return None


def tokenize_step(inputs: Inputs, dataset: ValidatedDataset) -> Step:
    """Tokens depend on the rows that learn or choose the epoch, not on the frozen ones."""
    config = inputs.config
    parts = {
        "training rows": digest_once(dataset.split_file("train")),
        "validation rows": digest_once(dataset.split_file("validation")),
        "labels": digest_of(dataset.labels),
        "task_type": config.task_type,
        "model.max_length": str(config.model.max_length),
        "model.window_overlap": str(config.model.window_overlap),
        "task": digest_of(config.task),
        "tokenizer": inputs.base.tokenizer_digest,
        "code": _code("components.training.tokenization", config),
        "libraries": _versions("numpy", "pyarrow", "tokenizers", "transformers"),
    }
    return Step("tokenize", config.name, parts)


def train_step(inputs: Inputs, dataset: ValidatedDataset, tokens: TokenizedDataset) -> Step:
    """A model directory depends on its tokens, its base, the training settings and the kind of hardware.

    It also holds what the tokens do not: the labels' names, the longest input, and golden rows with their texts.
    """
    config = inputs.config
    # What device and precision come to is in the hardware; the time limit changes no model.
    settings = config.training.model_dump(mode="json", exclude={"device", "precision", "max_hours"})
    parts = {
        "tokens": tokens.digest,
        "validation rows": digest_once(dataset.split_file("validation")),
        "labels": digest_of(dataset.labels),
        "task_type": config.task_type,
        "model.max_length": str(config.model.max_length),
        "model.window_overlap": str(config.model.window_overlap),
        "task": digest_of(config.task),
        "base model": inputs.base.digest,
        "training": digest_of(settings),
        "evaluation.metric": config.evaluation.metric,
        "hardware": inputs.hardware,
        "code": _code("components.training.fine_tuning", config),
        "libraries": _versions("accelerate", "numpy", "torch", "transformers"),
    }
    return Step("fine_tune", config.name, parts)


def evaluate_step(inputs: Inputs, dataset: ValidatedDataset, model_digest: str) -> Step:
    """A report depends on the model and the frozen rows; the champion's is found by the same rule."""
    config = inputs.config
    parts = {
        "model": model_digest,
        "frozen rows": digest_once(dataset.split_file("test")),
        "evaluation": _section(config.evaluation),
        "code": _code("components.reports.evaluation", config),
        "libraries": _versions("numpy", "pandas", "scikit-learn", "scipy", "tokenizers", "torch", "transformers"),
    }
    return Step("evaluate", config.name, parts)


def decide_step(inputs: Inputs, candidate: EvaluationReport, champion: EvaluationReport | None) -> Step:
    """A decision depends on what was said about every row and slice, and on the gate."""
    config = inputs.config
    parts = {
        "candidate": candidate.digest,
        "candidate's model": candidate.model_digest,
        "champion": champion.digest if champion else "none",
        "champion's model": champion.model_digest if champion else "none",
        "evaluation": _section(config.evaluation),
        "gate": _section(config.gate),
        "code": _code("components.reports.promotion", config),
        "libraries": _versions("numpy", "pandas", "scipy"),
    }
    return Step("decide", config.name, parts)


def plan_run(inputs: Inputs, store: StepStore) -> Plan:
    """What a run would do or reuse, step by step, as far as that can be known without doing anything."""
    planned: list[PlannedStep] = []

    def found(step: Step, record_type: type[Any]) -> Any:
        record = store.find(step, record_type)
        action: Literal["run", "reuse"] = "reuse" if record is not None else "run"
        planned.append(PlannedStep(step.name, action, "done before" if record is not None else store.why(step)))
        return record

    dataset = find_validated(inputs, store)
    step = validate_step(inputs)
    planned.append(
        PlannedStep(step.name, "reuse", "done before") if dataset else PlannedStep(step.name, "run", store.why(step))
    )
    unchanged = None
    tokens = dataset and found(tokenize_step(inputs, dataset), TokenizedDataset)
    model = dataset and tokens and found(train_step(inputs, dataset, tokens), TrainedModel)
    report = dataset and model and found(evaluate_step(inputs, dataset, model.digest), EvaluationReport)
    if report and dataset:
        unchanged = _was_rolled_back(report, inputs) or _unchanged(inputs, dataset, report, store)
    rest = STEPS[len(planned) :]
    if unchanged:
        planned += [PlannedStep(name, "skip", "nothing has changed") for name in rest]
    else:
        planned += [PlannedStep(name, "run", f"follows {planned[-1].name}") for name in rest]
    return Plan(tuple(planned), unchanged)


def _was_rolled_back(candidate: EvaluationReport, inputs: Inputs) -> str | None:
    """A person took this very model back: the same inputs must not put it live again."""
    reason = inputs.rolled_back.get(candidate.model_digest)
    return f"These inputs make a model that was rolled back: {reason}" if reason else None


def _unchanged(inputs: Inputs, dataset: ValidatedDataset, candidate: EvaluationReport, store: StepStore) -> str | None:
    """Why there is nothing to do: the candidate is the champion, or was refused against it already."""
    champion = inputs.champion
    if champion is None:
        return None
    if champion.digest == candidate.model_digest:
        return f"{_compared(dataset)} are what champion version {champion.version} was made from"
    theirs = store.find(evaluate_step(inputs, dataset, champion.digest), EvaluationReport)
    if theirs is None:
        return None
    decision = store.find(decide_step(inputs, candidate, theirs), PromotionDecision)
    if decision is None or decision.promote:
        return None
    return (
        f"{_compared(dataset)} are those of a candidate that was compared with champion version "
        f"{champion.version} before. {decision.reason}"
    )


def _compared(dataset: ValidatedDataset) -> str:
    rows = ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS if split in dataset.rows)
    return f"The data ({rows} rows), the base model, the settings, the code and the libraries"


def _content(files: Sequence[DataFile]) -> str:
    """Digest of what files hold and of how they are read, which their endings say."""
    return digest_of([(file.path.suffix.lower(), file.digest) for file in files])


def _code(module: str, config: RunConfig) -> str:
    """Digest of a component with the task type, which is found by its name and not by an import."""
    return digest_code(module, f"components.task_types.{config.task_type}")


def _section(section: Any) -> str:
    return digest_of(section.model_dump(mode="json"))


def _versions(*packages: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in packages)
