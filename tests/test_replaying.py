"""What a replay says when something is not as it was; that the same is made to the bit is in test_flow.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components import replaying
from components.data.data_files import find_data
from components.errors import RegistryError, ReplayError
from components.models.model_directory import model_digest, read_manifest, write_manifest
from components.recipes import Machine, Recipe, recipe_of, this_machine
from components.records import BaseModel, RegisteredVersion, TokenizedDataset, TrainedModel, ValidatedDataset
from components.replaying import Kitchen, compare, replay
from components.settings import Settings
from components.step_parts import Inputs
from components.step_store import StepStore
from components.tracking import log_recipe, read_recipe, start_run
from components.validation.examination import validate_dataset
from tests.reviews import reviews, run_config, write_csv


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    return BaseModel("tiny", tmp_path, "base", "tokenizer")


@pytest.fixture
def inputs(tmp_path: Path, base: BaseModel) -> Inputs:
    write_csv(tmp_path / "train.csv", reviews(60))
    config = run_config(tmp_path, {"train": "train.csv"})
    return Inputs(config, find_data(config), base, champion=None, rolled_back={}, hardware="cpu fp32")


@pytest.fixture
def dataset(inputs: Inputs, tmp_path: Path) -> ValidatedDataset:
    return validate_dataset(inputs.config, None, None, tmp_path / "rows", files=inputs.files)


@pytest.fixture
def recipe(inputs: Inputs, dataset: ValidatedDataset, tmp_path: Path) -> Recipe:
    return recipe_of(inputs, dataset, TokenizedDataset(tmp_path, "tokens", {}, {}, {}, {}, {}, 32))


@pytest.fixture
def kitchen(settings: Settings, base: BaseModel, tmp_path: Path) -> Kitchen:
    return Kitchen(settings, base, "cpu fp32", tmp_path / "kitchen", log=[].append)


def with_part(recipe: Recipe, step: str, **parts: str) -> Recipe:
    return replace(recipe, parts={**recipe.parts, step: {**recipe.parts[step], **parts}})


def test_a_recipe_comes_back_from_mlflow_as_it_was(recipe: Recipe, inputs: Inputs, settings: Settings):
    run_id = start_run(settings, inputs.config, "digest")
    version = RegisteredVersion("shop", 1, run_id, "digest", created=True)
    with pytest.raises(RegistryError, match="has no recipe"):
        read_recipe(settings, version)
    log_recipe(settings, run_id, recipe)
    found, _ = read_recipe(settings, version)
    assert found == recipe
    assert found.run_config() == inputs.config


def test_other_code_stops_a_replay_before_anything_is_done(recipe: Recipe, kitchen: Kitchen, tmp_path: Path):
    changed = with_part(recipe, "validate", code="other", libraries="numpy 1.0")
    with pytest.raises(ReplayError) as caught:
        replay(changed, tmp_path, replace(kitchen, commit="0123456789abcdef"), 0.01)
    assert "the code of validation has changed" in caught.value.problem
    assert "libraries of validation: numpy 1.0 then, " in caught.value.problem
    assert "check out commit 0123456789ab with its libraries" in caught.value.hint
    assert not kitchen.folder.exists()


def test_other_hardware_is_named(recipe: Recipe, kitchen: Kitchen, dataset: ValidatedDataset):
    tokens = TokenizedDataset(kitchen.folder, "tokens", {}, {}, {}, {}, {}, 32)
    on_gpu = with_part(recipe, "fine_tune", hardware="cuda bf16")
    with pytest.raises(ReplayError, match="hardware: cuda bf16 then, cpu fp32 now"):
        replaying._model(on_gpu, kitchen, dataset, tokens, [])


def test_missing_and_changed_files_are_all_named(recipe: Recipe, kitchen: Kitchen, tmp_path: Path):
    (tmp_path / "train.csv").unlink()
    with pytest.raises(ReplayError, match=r"train\.csv is gone"):
        replay(recipe, tmp_path, kitchen, 0.01)


def test_rows_that_are_still_in_the_store_stand_in_for_lost_files(
    recipe: Recipe, inputs: Inputs, settings: Settings, kitchen: Kitchen, tmp_path: Path
):
    def work(folder: Path) -> ValidatedDataset:
        return validate_dataset(inputs.config, None, None, folder, files=inputs.files)

    kept = StepStore(settings.steps).run(recipe.step("validate"), work)
    (tmp_path / "train.csv").unlink()
    assert replaying._rows(recipe, kitchen, []) == kept
    other = with_part(recipe, "tokenize", **{"training rows": "of another delivery"})
    with pytest.raises(ReplayError, match="is gone"):
        replaying._rows(other, kitchen, [])


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path) -> TrainedModel:
    """The tiny model again, with another validation score."""
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "made")
    manifest = read_manifest(folder)
    scores = {name: value - 0.02 for name, value in manifest.validation_metrics.items()}
    digest = write_manifest(folder, manifest.model_copy(update={"validation_metrics": scores}))
    return TrainedModel(folder, digest, folder, "cpu", "fp32", 1, 1, 1, scores)


def test_the_same_directory_is_identical(recipe: Recipe, tiny_model: Path, made: TrainedModel):
    same = replace(made, folder=tiny_model, digest=model_digest(tiny_model))
    assert compare(recipe, tiny_model, same, [], 0.01).outcome == "identical"


@pytest.mark.parametrize(
    ("hardware", "tolerance", "outcome"),
    [("cuda bf16", 0.05, "equivalent"), ("cuda bf16", 0.01, "different")],
)
def test_a_gpu_has_a_tolerance(recipe: Recipe, tiny_model: Path, made: TrainedModel, hardware, tolerance, outcome):
    for path in made.folder.glob("*.safetensors"):
        path.write_bytes(b"other weights")
    digest = write_manifest(made.folder, read_manifest(made.folder))
    on_gpu = with_part(recipe, "fine_tune", hardware=hardware)
    found = compare(on_gpu, tiny_model, replace(made, digest=digest), [], tolerance)
    assert found.outcome == outcome
    assert found.gap == pytest.approx(0.02)
    assert f"of {tolerance:g} that it may be" in found.reason


def test_a_cpu_of_the_same_kind_has_none(recipe: Recipe, tiny_model: Path, made: TrainedModel):
    for path in made.folder.glob("*.safetensors"):
        path.write_bytes(b"other weights")
    digest = write_manifest(made.folder, read_manifest(made.folder))
    other = replace(made, digest=digest)
    found = compare(recipe, tiny_model, other, [], 0.05)
    assert found.outcome == "different"
    assert "it should be the same to the bit" in found.reason
    elsewhere = replace(recipe, machine=Machine("another", (), this_machine().threads + 1))
    found = compare(elsewhere, tiny_model, other, [], 0.05)
    assert found.outcome == "equivalent"
    assert len(found.differences) == 2
