"""What each step of a run depends on: its parts, named as a person would say what changed.

`data.train`, `training`, `base model`, `code`: a finished step is found again where none of them has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.data.data_files import DataFile, find_files
from components.data.dated import COLUMN
from components.digests import digest_code, digest_of, digest_once
from components.records import BaseModel, EvaluationReport, Split, TokenizedDataset, ValidatedDataset
from components.step_store import Step
from components.training.devices import cpu_flags


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
    and the precision, such as "cpu fp32". `best` is the best model ever accepted, where that is not the champion.
    `waiting` says of each model that waits for approval until when, by its digest.
    """

    config: RunConfig
    files: Mapping[Split, Sequence[DataFile]]
    base: BaseModel
    champion: Champion | None
    rolled_back: Mapping[str, str]
    hardware: str
    best: Champion | None = None
    waiting: Mapping[str, str] = field(default_factory=dict)


def validate_step(inputs: Inputs) -> Step:
    """Validation depends on the files' content, on how they are read and checked, and on the tokenizer."""
    config, champion = inputs.config, inputs.champion
    left_out = {"train", "validation", "test", "feedback", "dated_by", "as_of"}
    settings = config.data.model_dump(mode="json", exclude=left_out)
    parts = {
        f"data.{split}": content_digest([file for file in files if not file.feedback])
        for split, files in inputs.files.items()
    }
    parts |= _rows_of_a_day(config) | _feedback(inputs)
    parts |= {
        "data": digest_of(settings),
        "validation": section_digest(config.validation),
        "model.max_length": str(config.model.max_length),
        "model.window_overlap": str(config.model.window_overlap),
        "task": digest_of(config.task),
        "evaluation.slices": digest_of(config.evaluation.columns),
        "tokenizer": inputs.base.tokenizer_digest,
        "champion's labels": digest_of(champion.labels if champion else None),
        "code": _code("components.validation.examination", config),
        "libraries": versions_of("great-expectations", "numpy", "pandas", "pyarrow", "tokenizers", "transformers"),
    }
    return Step("validate", config.name, parts)


def _rows_of_a_day(config: RunConfig) -> dict[str, str]:
    """What chooses rows inside the files; which files there are is said by their content."""
    data, clock = config.data, config.schedule.timezone
    by_row = data.as_of is not None and (data.dated_by or "").startswith(COLUMN)
    return {"data.as_of": f"{data.as_of}, {data.dated_by}, {clock}"} if by_row else {}


def noise_step(inputs: Inputs, dataset: ValidatedDataset) -> Step:
    """The look at the training labels depends on the rows, the base model and what is to be done about suspects."""
    config = inputs.config
    parts = {
        "training rows": digest_once(dataset.split_file("train")),
        "validation rows": digest_once(dataset.split_file("validation")),
        "validation.label_noise": config.validation.label_noise,
        "validation.max_label_noise": str(config.validation.max_label_noise),
        "model.max_length": str(config.model.max_length),
        "base model": inputs.base.digest,
        "code": _code("components.validation.noisy_rows", config),
        "libraries": versions_of("numpy", "pandas", "scikit-learn", "tokenizers", "torch", "transformers"),
    }
    return Step("label_noise", config.name, parts)


def _feedback(inputs: Inputs) -> dict[str, str]:
    """The corrections that people sent; of a day where one is asked for."""
    sent = [file for files in inputs.files.values() for file in files if file.feedback]
    return {"data.feedback": digest_of([content_digest(sent), str(inputs.config.data.as_of)])} if sent else {}


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
        "libraries": versions_of("numpy", "pyarrow", "tokenizers", "transformers"),
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
        "libraries": versions_of("accelerate", "numpy", "torch", "transformers"),
    }
    return Step("fine_tune", config.name, parts)


def evaluate_step(inputs: Inputs, dataset: ValidatedDataset, model_digest: str) -> Step:
    """A report depends on the model and the frozen rows; the champion's is found by the same rule."""
    config = inputs.config
    parts = {
        "model": model_digest,
        "frozen rows": digest_once(dataset.split_file("test")),
        "evaluation": section_digest(config.evaluation),
        "behavioural checks": digest_of([digest_once(path) for path in behaviour_files(config)]),
        "code": _code("components.reports.evaluation", config),
        "libraries": versions_of("numpy", "pandas", "scikit-learn", "scipy", "tokenizers", "torch", "transformers"),
    }
    return Step("evaluate", config.name, parts)


def decide_step(
    inputs: Inputs,
    candidate: EvaluationReport,
    champion: EvaluationReport | None,
    best: EvaluationReport | None = None,
    seeds: Sequence[EvaluationReport] = (),
) -> Step:
    """A decision depends on what was said about every row and slice, and on the gate.

    How often the rows have decided before is no part of it: a candidate that was judged is not judged again.
    """
    config = inputs.config
    parts = {
        "candidate": candidate.digest,
        "candidate's model": candidate.model_digest,
        "champion": champion.digest if champion else "none",
        "champion's model": champion.model_digest if champion else "none",
        "best version ever accepted": best.digest if best else "none",
        "other seeds": digest_of([report.digest for report in seeds]),
        "evaluation": section_digest(config.evaluation),
        "gate": section_digest(config.gate),
        "code": _code("components.reports.promotion", config),
        "libraries": versions_of("numpy", "pandas", "scipy"),
    }
    return Step("decide", config.name, parts)


def verdict_step(inputs: Inputs, decision: Step) -> Step:
    """That a candidate was refused, and all that follows was done: by the gate, or by what its bundle came to."""
    serving = inputs.config.serving
    engine = {"serving.engine": serving.engine, "serving.max_accuracy_loss": str(serving.max_accuracy_loss)}
    return Step("verdict", inputs.config.name, {**decision.parts, **engine})


def with_seed(inputs: Inputs, offset: int) -> Inputs:
    """The same inputs with another seed of the training."""
    training = inputs.config.training
    other = training.model_copy(update={"seed": training.seed + offset})
    return replace(inputs, config=inputs.config.model_copy(update={"training": other}))


def optimise_step(inputs: Inputs, dataset: ValidatedDataset, report: EvaluationReport) -> Step:
    """An engine depends on the model, on the rows that calibrate and judge it, and on what this processor can do."""
    config = inputs.config
    parts = {
        "model": report.model_digest,
        "training rows": digest_once(dataset.split_file("train")),
        "frozen rows": digest_once(dataset.split_file("test")),
        "report": report.digest,
        "serving.engine": config.serving.engine,
        "serving.max_accuracy_loss": str(config.serving.max_accuracy_loss),
        "processor": digest_of(sorted(cpu_flags())),
        "code": _code("components.serving.optimising", config),
        "engines": digest_code("components.models.engines.openvino_engine", "components.models.engines.torch_engine"),
        "libraries": versions_of("nncf", "numpy", "openvino", "tokenizers", "torch", "transformers"),
    }
    return Step("optimise", config.name, parts)


def behaviour_files(config: RunConfig) -> list[Path]:
    """The files of behavioural checks that a run file names.

    Raises:
        DataError: one is not there.
    """
    named = config.evaluation.behaviour.files
    return find_files(named, config.folder, (".yaml", ".yml")) if named else []


def content_digest(files: Sequence[DataFile]) -> str:
    """Digest of what files hold and of how they are read, which their endings say."""
    return digest_of([(file.path.suffix.lower(), file.digest) for file in files])


def _code(module: str, config: RunConfig) -> str:
    """Digest of a component with the task type, which is found by its name and not by an import."""
    return digest_code(module, f"components.task_types.{config.task_type}")


def section_digest(section: Any) -> str:
    """Digest of a section of a run file."""
    return digest_of(section.model_dump(mode="json"))


def versions_of(*packages: str) -> str:
    """Installed versions, as a part of a step."""
    return ", ".join(f"{name} {version(name)}" for name in packages)
