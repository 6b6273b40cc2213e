"""Bundles: what is in them, that they are built once, and that nothing half-built is left."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components import registry, tracking
from components.errors import BundleError, StorageError
from components.models.model_directory import verify_model
from components.records import Bundle
from components.serving import bundling
from components.serving.bundling import build_bundle, bundle_sources
from components.serving.releases import UNPROVEN, Evidence, read_bundle_release
from components.serving.requirements import pinned_requirements
from components.settings import Settings
from flows.serving import bundle_of
from tests.bundles import registered, tiny_config, tiny_settings

NOT_FOR_SERVING = {"prefect", "mlflow", "mlflow-skinny", "great-expectations", "datasets", "accelerate", "pandas"}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_its_model_its_service_and_no_other_code(support_bundle: tuple[Settings, Bundle]):
    _, bundle = support_bundle
    source = bundle.path / "src"
    verify_model(source / "model")
    code = {name for name in files_of(source) if name.endswith((".py", ".js", ".css", ".html"))}
    assert code == set(bundle_sources())
    assert not [name for name in files_of(source) if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib"))]
    assert {"service/page/index.html", "service/page/app.js", "service/page/style.css"} <= code
    assert not any(name.startswith(("flows/", "components/training", "components/registry")) for name in code)
    assert bundle.tag.startswith("support:1-")
    assert bundle.path.is_absolute()


def test_a_bundle_says_what_it_serves_and_why(support_bundle: tuple[Settings, Bundle]):
    _, bundle = support_bundle
    release = read_bundle_release(bundle.path / "src")
    assert (release.name, release.version, release.run_id) == ("support", 1, "run1")
    assert release.model_digest == bundle.model_digest
    assert (release.metrics, release.decision) == ({"accuracy": 0.91}, "Better.")


def test_requirements_are_exact_and_hold_only_what_serving_needs(support_bundle: tuple[Settings, Bundle]):
    _, bundle = support_bundle
    lines = (bundle.path / "env" / "python" / "requirements.txt").read_text(encoding="utf-8").split()
    names = {line.split("==")[0] for line in pinned_requirements()}
    assert {"bentoml", "torch", "transformers", "pydantic", "uvicorn"} <= names
    assert not names & NOT_FOR_SERVING
    assert set(pinned_requirements()) <= set(lines)
    assert all("==" in line and "+" not in line for line in pinned_requirements())


def test_the_same_content_is_built_once(support_bundle: tuple[Settings, Bundle], support_model: Path, monkeypatch):
    settings, bundle = support_bundle
    monkeypatch.setattr(bundling, "build", None)  # a second build would call it
    config = tiny_config()
    again = build_bundle(
        settings, config, registered(config, 1), support_model, Evidence({"accuracy": 0.91}, "Better.")
    )
    assert again == bundle
    assert (bundle.path.parent / "latest").read_text() == bundle.path.name
    assert not list(settings.bento_home.glob("building-*"))


def test_another_decision_makes_another_bundle_and_two_builders_make_one(
    support_bundle: tuple[Settings, Bundle], support_model: Path
):
    settings, bundle = support_bundle
    config = tiny_config()

    def build(_number: int) -> Bundle:
        return build_bundle(settings, config, registered(config, 1), support_model, Evidence({}, "Another."))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build, range(2))
    assert first == second
    assert first.path != bundle.path
    assert {path.name for path in bundle.path.parent.iterdir()} == {bundle.path.name, first.path.name, "latest"}


def test_a_damaged_bundle_is_built_again(support_model: Path, tmp_path: Path):
    settings, config = tiny_settings(tmp_path), tiny_config()
    bundle = build_bundle(settings, config, registered(config, 1), support_model, Evidence())
    (bundle.path / "src" / "model" / "config.json").write_text("{}")
    assert build_bundle(settings, config, registered(config, 1), support_model, Evidence()) == bundle
    verify_model(bundle.path / "src" / "model")
    assert (bundle.path / UNPROVEN).exists()


def test_a_full_disk_is_one_sentence(support_model: Path, tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings, config = tiny_settings(tmp_path), tiny_config()
    monkeypatch.setattr(bundling, "build", lambda *_: tmp_path / "built")
    monkeypatch.setattr(bundling.shutil, "copyfile", full)
    with pytest.raises(StorageError, match=rf"The disk that holds {settings.bento_home} is full"):
        build_bundle(settings, config, registered(config, 1), support_model, Evidence())
    monkeypatch.setattr(bundling, "stage", lambda *_: None)  # later: while the model is copied
    with pytest.raises(StorageError, match="is full"):
        build_bundle(settings, config, registered(config, 1), support_model, Evidence())


def test_a_damaged_model_is_not_bundled(support_model: Path, tmp_path: Path):
    model = tmp_path / "model"
    shutil.copytree(support_model, model)
    (model / "golden.json").write_text("[]")
    settings, config = tiny_settings(tmp_path), tiny_config()
    with pytest.raises(BundleError, match=r"golden\.json changed"):
        build_bundle(settings, config, registered(config, 1), model, Evidence())
    assert not settings.bento_home.exists()


def test_a_module_that_the_bundle_lacks_stops_the_build_and_leaves_nothing(
    support_model: Path, tmp_path: Path, monkeypatch
):
    lacking = {name: path for name, path in bundle_sources().items() if name != "components/models/golden.py"}
    monkeypatch.setattr(bundling, "bundle_sources", lambda: lacking)
    settings, config = tiny_settings(tmp_path), tiny_config()
    with pytest.raises(BundleError, match=r"No module named 'components\.models\.golden'"):
        build_bundle(settings, config, registered(config, 1), support_model, Evidence())
    assert files_of(settings.bento_home) == set()


def test_a_bundle_that_is_built_again_elsewhere_says_what_the_first_one_said(
    settings: Settings, support_model: Path, tmp_path: Path
):
    config = tiny_config(max_texts=7)
    run_id = tracking.start_run(settings, config, "t" * 64)
    version = registry.register_model(settings, run_id, support_model)
    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "reference.json").write_text("{}")
    evidence = Evidence({"accuracy": 0.91}, "Better.", reference=reference)
    first = build_bundle(settings, config, version, support_model, evidence)
    said = read_bundle_release(first.path / "src")
    tracking.log_bundle(settings, run_id, first)
    tracking.log_reference(settings, run_id, reference)
    shutil.rmtree(settings.bento_home)
    again = bundle_of(settings, version)
    assert again == first
    assert read_bundle_release(again.path / "src") == said
    assert said.serving.max_texts == 7
    assert (again.path / "src" / "reference" / "reference.json").exists()
