from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.errors import BundleError
from components.models.model_directory import (
    NOT_PART_OF_A_MODEL,
    model_digest,
    read_golden,
    read_manifest,
    verify_model,
    write_manifest,
)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_a_whole_directory_passes(model: Path):
    assert verify_model(model) == read_manifest(model)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "golden.json", "config.json"])
def test_a_changed_file_is_named(model: Path, name: str):
    content = bytearray((model / name).read_bytes())
    content[-2] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        verify_model(model)


def test_missing_and_added_files_are_named(model: Path):
    (model / "golden.json").unlink()
    (model / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"extra\.bin, golden\.json"):
        verify_model(model)


def test_the_same_files_have_the_same_digest_and_any_change_another(model: Path):
    before, manifest = model_digest(model), read_manifest(model)
    assert write_manifest(model, manifest) == before
    assert write_manifest(model, manifest.model_copy(update={"fitted": {"temperature": 2.0}})) != before


def test_pickles_of_the_trainer_do_not_stay(model: Path):
    for name in NOT_PART_OF_A_MODEL:
        (model / name).write_bytes(b"x")
    write_manifest(model, read_manifest(model))
    assert not any((model / name).exists() for name in NOT_PART_OF_A_MODEL)


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path):
    with pytest.raises(BundleError, match=r"holds no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "change", [{"max_length": "long"}, {"surprise": 1}, {"temperature": 0}, {"labels": None}], ids=str
)
def test_a_manifest_with_wrong_values_is_damaged(model: Path, change: dict[str, object]):
    content = json.loads((model / "manifest.json").read_bytes())
    (model / "manifest.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(BundleError, match="is damaged"):
        read_manifest(model)


def test_golden_rows_come_back_as_they_were_written(model: Path):
    golden = read_golden(model)
    assert golden
    assert all(len(row.answer["top"]) == len(read_manifest(model).labels) for row in golden)
