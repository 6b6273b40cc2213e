"""Replays: a registered version made again from its recipe in a folder of its own, and what differs from it.

In: a recipe, the registered model directory and an empty folder. Out: whether the same was made: to the bit on a CPU of
the same kind, else within a tolerance of the primary metric on the validation rows. Nothing is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.digests import digest_file
from components.errors import ReplayError
from components.models.model_directory import Manifest, is_weights, model_digest, read_manifest
from components.recipes import Machine, Recipe, this_machine
from components.records import BaseModel, Split, TokenizedDataset, TrainedModel, ValidatedDataset
from components.settings import Settings
from components.step_parts import Inputs, tokenize_step, train_step, validate_step
from components.step_store import Step, StepStore
from components.training.training_history import Progress

SHOWN = 10  # files in one message
WORDS = {"fine_tune": "fine-tuning", "tokenize": "tokenization", "validate": "validation"}
LEARNED_FROM: tuple[Split, ...] = ("train", "validation")
PARTS = {"train": "training rows", "validation": "validation rows"}
Outcome = Literal["identical", "equivalent", "different"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of making a version again.

    `differences` names what was not as it was then; `gap` is how far the primary metric on the validation rows is from
    the registered model's, `tolerance` how far it may be where the bits cannot be the same.
    """

    outcome: Outcome
    reason: str
    differences: tuple[str, ...]
    digest: str
    recorded_digest: str
    metric: str
    gap: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Where a version is made again, and with what.

    `commit` is that of the recorded code, empty where unknown; `anyway` goes on though code, libraries or hardware
    are others; `log` is told what is being done.
    """

    settings: Settings
    base: BaseModel
    hardware: str
    folder: Path
    log: Callable[[str], None]
    commit: str = ""
    anyway: bool = False
    progress: Callable[[Progress], None] | None = None


def replay(recipe: Recipe, registered: Path, kitchen: Kitchen, tolerance: float) -> Replay:
    """Make a version again and compare it with the registered model directory.

    Args:
        tolerance: of the primary metric, in points, for other hardware than a CPU of the same kind.

    Raises:
        ReplayError: the data is gone, or code, libraries or hardware are others and it shall not go on anyway.
        RejectedData: validation stops the rows that it once let through.
        TrainingError: the training failed.
    """
    differences: list[str] = []
    dataset = _rows(recipe, kitchen, differences)
    tokens = _tokens(recipe, kitchen, dataset, differences)
    model = _model(recipe, kitchen, dataset, tokens, differences)
    return compare(recipe, registered, model, differences, tolerance)


def _rows(recipe: Recipe, kitchen: Kitchen, differences: list[str]) -> ValidatedDataset:
    from components.validation.examination import validate_dataset

    problems = list(_wrong_files(recipe))
    if problems:
        kept = _kept_rows(recipe, kitchen.settings)
        if kept is None:
            raise ReplayError(
                f"The data is not what it was: {'; '.join(problems[:SHOWN])}.",
                "restore those files to those places; their SHA-256 are in recipe.json of the version's MLflow run.",
            )
        kitchen.log(f"Rows from the store of finished steps: {'; '.join(problems[:SHOWN])}.")
        return kept
    inputs = _inputs(recipe, kitchen)
    _compare_step(recipe.step("validate"), validate_step(inputs), kitchen, differences)
    kitchen.log("validates")
    dataset = validate_dataset(
        inputs.config, kitchen.base, recipe.labels, kitchen.folder / "validate", files=inputs.files
    )
    dataset = _without_suspects(dataset, inputs, kitchen)
    if dataset.digest != recipe.data_digest:
        _differ(["validation let other rows through"], kitchen, differences)
    return dataset


def _without_suspects(dataset: ValidatedDataset, inputs: Inputs, kitchen: Kitchen) -> ValidatedDataset:
    """The rows without likely wrong labels, where the run file has them removed."""
    if inputs.config.validation.label_noise != "remove":
        return dataset
    from components.validation.noisy_rows import look_for_noise

    folder = kitchen.folder / "label_noise"
    folder.mkdir()
    return look_for_noise(inputs.config, dataset, kitchen.base, folder, kitchen.hardware.split()[0]).dataset


def _tokens(recipe: Recipe, kitchen: Kitchen, dataset: ValidatedDataset, differences: list[str]) -> TokenizedDataset:
    from components.training.tokenization import tokenize_dataset

    inputs = _inputs(recipe, kitchen)
    _compare_step(recipe.step("tokenize"), tokenize_step(inputs, dataset), kitchen, differences)
    kitchen.log("tokenizes")
    return tokenize_dataset(inputs.config, dataset, kitchen.base, kitchen.folder / "tokenize")


def _model(
    recipe: Recipe, kitchen: Kitchen, dataset: ValidatedDataset, tokens: TokenizedDataset, differences: list[str]
) -> TrainedModel:
    from components.training.training_process import train_in_process

    inputs = _inputs(recipe, kitchen)
    _compare_step(recipe.step("fine_tune"), train_step(inputs, dataset, tokens), kitchen, differences)
    kitchen.log("trains")
    return train_in_process(
        inputs.config,
        tokens,
        kitchen.base,
        dataset,
        kitchen.folder / "fine_tune",
        settings=kitchen.settings,
        on_progress=kitchen.progress,
    )


def _inputs(recipe: Recipe, kitchen: Kitchen) -> Inputs:
    return Inputs(recipe.run_config(), recipe.files, kitchen.base, None, {}, kitchen.hardware)


def _wrong_files(recipe: Recipe) -> Iterator[str]:
    """What is not as it was with the data files."""
    for files in recipe.files.values():
        for file in files:
            if not file.path.is_file():
                yield f"{file.path} is gone"
            elif digest_file(file.path) != file.digest:
                yield f"{file.path} holds something else than then"


def _kept_rows(recipe: Recipe, settings: Settings) -> ValidatedDataset | None:
    """The rows that validation let through then, where the store still has them whole."""
    found = StepStore(settings.steps).find(recipe.step("validate"), ValidatedDataset)
    if found is None:
        return None
    recorded = recipe.parts["tokenize"]
    same = all(digest_file(found.split_file(split)) == recorded[PARTS[split]] for split in LEARNED_FROM)
    return found if same else None


def _compare_step(then: Step, now: Step, kitchen: Kitchen, differences: list[str]) -> None:
    """Name what a step depends on that is not as it was; the champion's labels are given and never differ."""
    names = sorted(
        name
        for name in then.parts.keys() | now.parts
        if name != "champion's labels" and then.parts.get(name) != now.parts.get(name)
    )
    what = WORDS[then.name]
    _differ([_in_words(what, name, then.parts, now.parts) for name in names], kitchen, differences)


def _differ(found: Sequence[str], kitchen: Kitchen, differences: list[str]) -> None:
    differences += found
    if found and not kitchen.anyway:
        back = f"check out commit {kitchen.commit[:12]} with its libraries" if kitchen.commit else "go back to them"
        raise ReplayError(
            f"This is not what the version was made with: {'; '.join(found)}.",
            f"{back}, or add --anyway to see what comes of what is here.",
        )


def _in_words(what: str, name: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    before, after = then.get(name, "nothing"), now.get(name, "nothing")
    match name:
        case "libraries":
            return f"libraries of {what}: {_changed_libraries(before, after)}"
        case "hardware":
            return f"hardware: {before} then, {after} now"
        case "code":
            return f"the code of {what} has changed"
    return f"{name} of {what}: {before[:12]} then, {after[:12]} now"


def _changed_libraries(before: str, after: str) -> str:
    gone = [name for name in before.split(", ") if name not in after.split(", ")]
    new = [name for name in after.split(", ") if name not in before.split(", ")]
    return f"{', '.join(gone) or 'none'} then, {', '.join(new) or 'none'} now"


def compare(
    recipe: Recipe, registered: Path, made: TrainedModel, differences: Sequence[str], tolerance: float
) -> Replay:
    """Whether what was made is the registered model."""
    then, now = read_manifest(registered), read_manifest(made.folder)
    metric = recipe.config["evaluation"]["metric"]
    gap = abs(now.validation_metrics[metric] - then.validation_metrics[metric])
    recorded = model_digest(registered)
    others = [*differences, *_other_machine(recipe.machine, this_machine())]
    may_differ = bool(others) or recipe.parts["fine_tune"]["hardware"].startswith("cuda")  # its sums have no order
    outcome, reason = _verdict(recorded == made.digest, _same_weights(then, now), gap, tolerance, may_differ)
    return Replay(outcome, reason, tuple(others), made.digest, recorded, metric, gap, tolerance)


def _verdict(same: bool, same_weights: bool, gap: float, tolerance: float, may_differ: bool) -> tuple[Outcome, str]:
    if same:
        return "identical", "The model is the same to the bit."
    weights = "the weights are the same to the bit" if same_weights else "the weights are not the same to the bit"
    scores = f"{weights}, and the validation score is {gap:.4f} away, of {tolerance:g} that it may be"
    if gap <= tolerance and (may_differ or same_weights):
        return "equivalent", f"The model is as good: {scores}."
    why = "" if may_differ else "; nothing that is recorded is another, so it should be the same to the bit"
    return "different", f"The model is another one: {scores}{why}."


def _same_weights(then: Manifest, now: Manifest) -> bool:
    one, other = ({n: d for n, d in each.files.items() if is_weights(n)} for each in (then, now))
    return one == other


def _other_machine(then: Machine, now: Machine) -> Iterator[str]:
    """What may change the last digits though the code is the same."""
    if then.threads != now.threads:
        yield f"threads: {then.threads} then, {now.threads} now"
    if then.instructions != now.instructions:
        yield f"processor: {then.processor or 'unknown'} then, {now.processor or 'unknown'} now"
