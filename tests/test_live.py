"""Hot swap inside one process: a good version takes over, a bad one never does and says why."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from components.errors import BundleError, StorageError
from components.models.model_directory import model_digest, read_manifest, write_golden, write_manifest
from components.records import Bundle
from components.serving.releases import MODEL, read_release, read_release_file, release_file, write_release
from components.settings import Settings
from service.application import Application
from service.watched_file import WatchedFile
from tests.bundles import build_model, build_source, tiny_config, tiny_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiny_settings(tmp_path)


@pytest.fixture
def application(support_model: Path, tmp_path: Path, settings: Settings) -> Application:
    """Version 1, looked after by hand instead of by the thread."""
    application = Application(build_source(tmp_path / "one", support_model, tiny_config()))
    application.live.start()
    application.live.release = WatchedFile(release_file(settings, "support"))
    return application


def bundle_of(source: Path, version: int) -> Bundle:
    return Bundle(f"support:{version}-x", source.parent, version, model_digest(source / MODEL))


def look_at(application: Application, settings: Settings, bundle: Bundle) -> tuple[int, str | None]:
    """The version that is live after a look at a new release, and why that release is refused."""
    write_release(settings, "support", bundle)
    application.live.look()
    refused = application.live.refused
    return application.live.engine().release.version, refused.reason if refused else None


def test_a_new_version_takes_over_and_the_old_one_can_come_back(
    application: Application, settings: Settings, support_model: Path, tmp_path: Path
):
    source = build_source(tmp_path / "two", build_model(tmp_path / "other", seed=2), tiny_config(), version=2)
    assert look_at(application, settings, bundle_of(source, 2)) == (2, None)
    assert 'rebert_model_info{digest="' in application.metrics.text().decode()
    assert 'version="2"} 1.0' in application.metrics.text().decode()
    assert look_at(application, settings, bundle_of(tmp_path / "one" / "src", 1)) == (1, None)


def test_a_replaced_model_is_let_go(support_model: Path, tmp_path: Path, settings: Settings):
    source = build_source(tmp_path / "two", build_model(tmp_path / "other", seed=2), tiny_config(), version=2)
    with TestClient(Application(build_source(tmp_path / "one", support_model, tiny_config()))) as client:
        live = client.app.live
        first = weakref.ref(live.engine().predictor.run.network)
        assert client.post("/predict", json={"text": "card"}).json()["version"] == 1
        assert client.get("/openapi.json").status_code == 200
        live.release = WatchedFile(write_release(settings, "support", bundle_of(source, 2)))
        live.look()
        assert client.get("/readyz").json()["version"] == 2
        assert first() is None


def test_the_live_version_is_not_loaded_again(application: Application, settings: Settings, tmp_path: Path):
    before = application.live.engine()
    assert look_at(application, settings, bundle_of(tmp_path / "one" / "src", 1)) == (1, None)
    assert application.live.engine() is before


def test_a_damaged_version_is_refused_without_our_folders_and_forgotten_after_a_good_one(
    application: Application, settings: Settings, support_model: Path, tmp_path: Path
):
    source = build_source(tmp_path / "two", support_model, tiny_config(), version=2)
    (source / MODEL / "config.json").write_text("{}")
    version, reason = look_at(application, settings, bundle_of(source, 2))
    assert (version, reason) == (
        1,
        "support:2-x/src/model is not what was trained: config.json changed, is missing or was added.",
    )
    assert 'rebert_release_refused{service_name="support"} 1.0' in application.metrics.text().decode()
    assert look_at(application, settings, bundle_of(tmp_path / "one" / "src", 1)) == (1, None)
    assert 'rebert_release_refused{service_name="support"} 0.0' in application.metrics.text().decode()


def test_a_version_with_other_answers_than_its_trainers_is_refused(
    application: Application, settings: Settings, support_model: Path, tmp_path: Path
):
    source = build_source(tmp_path / "two", other_answers(support_model, tmp_path / "m"), tiny_config(), version=2)
    version, reason = look_at(application, settings, bundle_of(source, 2))
    assert version == 1
    assert str(reason).startswith("Golden row 0: the trainer said")


def test_a_refused_version_is_tried_again_after_a_while(
    application: Application, settings: Settings, support_model: Path, tmp_path: Path, monkeypatch
):
    source = build_source(tmp_path / "two", support_model, tiny_config(), version=2)
    config = source / MODEL / "config.json"
    whole = config.read_bytes()
    bundle = bundle_of(source, 2)
    config.unlink()  # it is still on its way
    assert look_at(application, settings, bundle)[0] == 1
    config.write_bytes(whole)
    application.live.look()
    assert application.live.engine().release.version == 1
    monkeypatch.setattr(application.live, "retry_at", 0.0)
    application.live.look()
    assert (application.live.engine().release.version, application.live.refused) == (2, None)


def other_answers(model: Path, target: Path) -> Path:
    shutil.copytree(model, target)
    rows = json.loads((target / "golden.json").read_text(encoding="utf-8"))
    from components.models.model_directory import GoldenRow

    write_golden(target, [GoldenRow(row=row["row"], answer={**row["answer"], "score": 0.0}) for row in rows])
    write_manifest(target, read_manifest(target))
    return target


def test_a_bundle_that_is_gone_or_of_another_model_is_refused(
    application: Application, settings: Settings, support_model: Path, tmp_path: Path
):
    gone = Bundle("support:9-x", tmp_path / "gone", 9, "0" * 64)
    assert look_at(application, settings, gone) == (1, "support:9-x/src holds no release.json.")
    other = build_source(tmp_path / "other", support_model, tiny_config("orders"), version=2)
    assert look_at(application, settings, bundle_of(other, 2)) == (1, "The bundle is of orders, not of support.")
    mistaken = build_source(tmp_path / "mistaken", support_model, tiny_config(), version=3)
    version, reason = look_at(application, settings, bundle_of(mistaken, 2))
    assert (version, reason) == (1, "The bundle is not the one that the release file means.")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tag": 1}', '{"path": "x", "version": "y"}', "\x00"])
def test_a_damaged_release_file_changes_nothing(application: Application, settings: Settings, text: str):
    path = release_file(settings, "support")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    application.live.look()
    assert application.live.engine().release.version == 1
    assert application.live.refused is not None
    with pytest.raises(BundleError, match="does not name a bundle"):
        read_release_file(path)


def test_a_release_comes_back_as_it_was_written(settings: Settings, tmp_path: Path):
    assert read_release(settings, "support") is None
    bundle = Bundle("support:1-x", tmp_path / "里", 1, "0" * 64)
    path = write_release(settings, "support", bundle)
    assert read_release(settings, "support") == bundle
    assert [item.name for item in path.parent.iterdir()] == ["support.json"]


def test_a_release_that_cannot_be_written_says_so(settings: Settings):
    settings.home.mkdir(parents=True)
    settings.releases.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        write_release(settings, "support", Bundle("support:1-x", Path("/x"), 1, "0" * 64))
