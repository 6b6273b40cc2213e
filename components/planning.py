"""What each step of a run depends on, and so which steps a run would do and which it would find done.

A step's parts are named as a person would say what changed: `data.train`, `training`, `base model`, `code`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from components.config import RunConfig
from components.digests import digest_code, digest_file, digest_of
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


def validate_step(
    config: RunConfig, files: Mapping[Split, Sequence[Path]], base: BaseModel, champion: Champion | None
) -> Step:
    """Validation depends on the files' content, on how they are read and checked, and on the tokenizer."""
    data = {f"data.{split}": digest_of([digest_file(path) for path in paths]) for split, paths in files.items()}
    settings = config.data.model_dump(mode="json", exclude={"train", "validation", "test"})
    parts = data | {
        "data": digest_of(settings),
        "validation": _section(config.validation),
        "model.max_length": str(config.model.max_length),
        "evaluation.slices": digest_of(config.evaluation.slices),
        "tokenizer": base.tokenizer_digest,
        "champion's labels": digest_of(champion.labels if champion else None),
        "code": digest_code("components.validation"),
        "libraries": _versions("great-expectations", "pandas", "tokenizers"),
    }
    return Step("validate", config.name, parts)


def find_validated(
    config: RunConfig,
    files: Mapping[Split, Sequence[Path]],
    base: BaseModel,
    champion: Champion | None,
    store: StepStore,
) -> ValidatedDataset | None:
    """The finished validation of these inputs.

    One that was made without a champion counts where it found just the champion's labels: so the first run after a
    first promotion has nothing to do.
    """
    for standard in (champion, None):
        found = store.find(validate_step(config, files, base, standard), ValidatedDataset)
        if found and (standard is champion or (champion and found.labels == champion.labels)):
            return found
    return None


def tokenize_step(config: RunConfig, dataset: ValidatedDataset, base: BaseModel) -> Step:
    """Tokens depend on the rows that learn or choose the epoch, not on the frozen ones."""
    parts = {
        "training rows": digest_file(dataset.split_file("train")),
        "validation rows": digest_file(dataset.split_file("validation")),
        "labels": digest_of(dataset.labels),
        "task_type": config.task_type,
        "model.max_length": str(config.model.max_length),
        "tokenizer": base.tokenizer_digest,
        "code": digest_code("components.tokenization", f"components.task_types.{config.task_type}"),
        "libraries": _versions("tokenizers", "transformers"),
    }
    return Step("tokenize", config.name, parts)


def train_step(config: RunConfig, tokens: TokenizedDataset, base: BaseModel, hardware: str) -> Step:
    """A model depends on its tokens, its base, the training settings and the kind of hardware."""
    parts = {
        "tokens": tokens.digest,
        "base model": base.digest,
        "training": digest_of(config.training.model_dump(mode="json", exclude={"max_hours"})),
        "evaluation.metric": config.evaluation.metric,
        "hardware": hardware,
        "code": digest_code("components.training", f"components.task_types.{config.task_type}"),
        "libraries": _versions("accelerate", "torch", "transformers"),
    }
    return Step("fine_tune", config.name, parts)


def evaluate_step(config: RunConfig, model_digest: str, dataset: ValidatedDataset) -> Step:
    """A report depends on the model and the frozen rows; the champion's is found by the same rule."""
    parts = {
        "model": model_digest,
        "frozen rows": digest_file(dataset.split_file("test")),
        "evaluation": _section(config.evaluation),
        "code": digest_code("components.evaluation"),
        "libraries": _versions("scikit-learn", "torch", "transformers"),
    }
    return Step("evaluate", config.name, parts)


def decide_step(config: RunConfig, candidate: EvaluationReport, champion: EvaluationReport | None) -> Step:
    """A decision depends on what was said about every row, and on the gate."""
    parts = {
        "candidate": candidate.digest,
        "candidate's model": candidate.model_digest,
        "champion": champion.digest if champion else "none",
        "champion's model": champion.model_digest if champion else "none",
        "evaluation.metric": config.evaluation.metric,
        "gate": _section(config.gate),
        "code": digest_code("components.promotion"),
    }
    return Step("decide", config.name, parts)


def plan_run(
    config: RunConfig,
    files: Mapping[Split, Sequence[Path]],
    base: BaseModel,
    champion: Champion | None,
    rolled_back: Mapping[str, str],
    hardware: str,
    store: StepStore,
) -> Plan:
    """What a run would do or reuse, step by step, as far as that can be known without doing anything."""
    planned: list[PlannedStep] = []

    def found(step: Step, record_type: type[Any]) -> Any:
        record = store.find(step, record_type)
        action: Literal["run", "reuse"] = "reuse" if record is not None else "run"
        planned.append(PlannedStep(step.name, action, "done before" if record is not None else store.why(step)))
        return record

    dataset = find_validated(config, files, base, champion, store)
    step = validate_step(config, files, base, champion)
    planned.append(
        PlannedStep(step.name, "reuse", "done before") if dataset else PlannedStep(step.name, "run", store.why(step))
    )
    unchanged = None
    tokens = dataset and found(tokenize_step(config, dataset, base), TokenizedDataset)
    model = tokens and found(train_step(config, tokens, base, hardware), TrainedModel)
    report = model and dataset and found(evaluate_step(config, model.digest, dataset), EvaluationReport)
    if report and dataset:
        unchanged = _was_rolled_back(report, rolled_back) or _unchanged(config, dataset, report, champion, store)
    rest = STEPS[len(planned) :]
    if unchanged:
        planned += [PlannedStep(name, "skip", "nothing has changed") for name in rest]
    else:
        planned += [PlannedStep(name, "run", f"follows {planned[-1].name}") for name in rest]
    return Plan(tuple(planned), unchanged)


def _was_rolled_back(candidate: EvaluationReport, rolled_back: Mapping[str, str]) -> str | None:
    """A person took this very model back: the same inputs must not put it live again."""
    reason = rolled_back.get(candidate.model_digest)
    return f"These inputs make a model that was rolled back: {reason}" if reason else None


def _unchanged(
    config: RunConfig,
    dataset: ValidatedDataset,
    candidate: EvaluationReport,
    champion: Champion | None,
    store: StepStore,
) -> str | None:
    """Why there is nothing to do: the candidate is the champion, or was refused against it already."""
    if champion is None:
        return None
    if champion.digest == candidate.model_digest:
        return f"{_compared(dataset)} are what champion version {champion.version} was made from"
    theirs = store.find(evaluate_step(config, champion.digest, dataset), EvaluationReport)
    if theirs is None:
        return None
    decision = store.find(decide_step(config, candidate, theirs), PromotionDecision)
    if decision is None or decision.promote:
        return None
    return (
        f"{_compared(dataset)} are those of a candidate that was compared with champion version "
        f"{champion.version} before. {decision.reason}"
    )


def _compared(dataset: ValidatedDataset) -> str:
    rows = ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS if split in dataset.rows)
    return f"The data ({rows} rows), the base model, the settings, the code and the libraries"


def _section(section: Any) -> str:
    return digest_of(section.model_dump(mode="json"))


def _versions(*packages: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in packages)
