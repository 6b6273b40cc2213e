"""Which steps a run would do, and which it would find done, as far as that can be known without doing anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from components.records import (
    SPLITS,
    EvaluationReport,
    PromotionDecision,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from components.step_parts import (
    Inputs,
    decide_step,
    evaluate_step,
    noise_step,
    tokenize_step,
    train_step,
    validate_step,
    verdict_step,
    with_seed,
)
from components.step_store import Step, StepStore
from components.validation.feedback_words import feedback_in_words
from components.validation.noisy_rows import LabelNoise

STEPS = (
    "validate", "label_noise", "tokenize", "fine_tune", "evaluate", "register", "decide", "optimise", "bundle", "prove",
    "promote",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One line of a plan."""

    name: str
    action: Literal["run", "reuse", "skip"]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    `unchanged` says in one sentence why there is nothing to do, or is None; `feedback` what is known of corrections,
    empty where none are asked for.
    """

    steps: tuple[PlannedStep, ...]
    unchanged: str | None
    feedback: str = ""


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
    if dataset and inputs.config.validation.label_noise != "off":
        looked = found(noise_step(inputs, dataset), LabelNoise)
        dataset = looked and looked.dataset
    tokens = dataset and found(tokenize_step(inputs, dataset), TokenizedDataset)
    model = dataset and tokens and found(train_step(inputs, dataset, tokens), TrainedModel)
    report = dataset and model and found(evaluate_step(inputs, dataset, model.digest), EvaluationReport)
    if report and dataset and isinstance(tokens, TokenizedDataset):
        unchanged = _was_rolled_back(report, inputs) or _unchanged(inputs, dataset, tokens, report, store)
    asked = inputs.config.validation.label_noise != "off"
    rest = [name for name in STEPS if asked or name != "label_noise"][len(planned) :]
    if unchanged:
        planned += [PlannedStep(name, "skip", "nothing has changed") for name in rest]
    else:
        planned += [PlannedStep(name, "run", f"follows {planned[-1].name}") for name in rest]
    return Plan(tuple(planned), unchanged, _feedback(inputs, find_validated(inputs, store)))


def _feedback(inputs: Inputs, dataset: ValidatedDataset | None) -> str:
    """What became of the corrections where these inputs were validated; else where there are some to look at."""
    if not inputs.config.data.feedback:
        return ""
    if dataset is not None and dataset.feedback:
        return feedback_in_words(dataset.feedback)
    files = [file.feedback for named in inputs.files.values() for file in named if file.feedback]
    return f"Feedback to validate: {', '.join(files)}." if files else "Feedback: none has been sent yet."


def _was_rolled_back(candidate: EvaluationReport, inputs: Inputs) -> str | None:
    """A person took this very model back: the same inputs must not put it live again."""
    reason = inputs.rolled_back.get(candidate.model_digest)
    return f"These inputs make a model that was rolled back: {reason}" if reason else None


def _seeds(
    inputs: Inputs, dataset: ValidatedDataset, tokens: TokenizedDataset, store: StepStore
) -> list[EvaluationReport] | None:
    """The reports of the other seeds; None where one is not there yet."""
    reports: list[EvaluationReport] = []
    for offset in range(1, inputs.config.gate.seeds):
        other = with_seed(inputs, offset)
        model = store.find(train_step(other, dataset, tokens), TrainedModel)
        report = store.find(evaluate_step(other, dataset, model.digest), EvaluationReport) if model else None
        if report is None:
            return None
        reports.append(report)
    return reports


def _unchanged(
    inputs: Inputs,
    dataset: ValidatedDataset,
    tokens: TokenizedDataset,
    candidate: EvaluationReport,
    store: StepStore,
) -> str | None:
    """Why there is nothing to do: the candidate is the champion, was refused against it already, or waits."""
    champion = inputs.champion
    if champion and champion.digest == candidate.model_digest:
        return f"{_compared(dataset)} are what champion version {champion.version} was made from"
    theirs = store.find(evaluate_step(inputs, dataset, champion.digest), EvaluationReport) if champion else None
    best = store.find(evaluate_step(inputs, dataset, inputs.best.digest), EvaluationReport) if inputs.best else None
    seeds = _seeds(inputs, dataset, tokens, store) if champion else []
    if (champion and theirs is None) or seeds is None:
        return None
    step = decide_step(inputs, candidate, theirs, best, seeds)
    # Not the gate's decision: a run that was killed behind it has a challenger to retire and a ledger to write.
    refused = store.find(verdict_step(inputs, step), PromotionDecision)
    if refused:
        against = f"compared with champion version {champion.version}" if champion else "judged"
        return f"{_compared(dataset)} are those of a candidate that was {against} before. {refused.reason}"
    until = inputs.waiting.get(candidate.model_digest)
    if until and inputs.config.gate.approval and store.find(step, PromotionDecision):
        return f"{_compared(dataset)} are those of a candidate that waits for approval until {until}."
    return None


def _compared(dataset: ValidatedDataset) -> str:
    rows = ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS if split in dataset.rows)
    return f"The data ({rows} rows), the base model, the settings that make a model, the code and the libraries"
