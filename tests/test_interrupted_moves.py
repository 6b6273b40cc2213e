"""A promotion that was killed before the endpoint knew of it is completed by whoever looks next."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import registry
from components.records import Bundle, RegisteredVersion
from components.registry.single_flight import single_flight
from components.serving.releases import read_release, write_release
from components.settings import Settings
from flows import serving
from tests.bundles import build_source, tiny_config
from tests.model_folders import another_model
from tests.test_registry import promote


@pytest.fixture
def interrupted(settings: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Version 2 of 'shop' is the champion, and the endpoint is still told of version 1."""
    client = registry.open_store(settings)
    experiment = client.create_experiment("shop")
    for number in (1, 2):
        run_id = client.create_run(experiment).info.run_id
        registry.register_model(settings, run_id, another_model(tmp_path / f"{number}", tiny_model, train_rows=number))
        promote(settings, number)

    def bundle_of(_settings: Settings, version: RegisteredVersion) -> Bundle:
        return Bundle(f"shop:{version.version}-x", tmp_path, version.version, version.digest)

    monkeypatch.setattr(serving, "bundle_of", bundle_of)
    write_release(settings, "shop", bundle_of(settings, registry.get_version(settings, "shop", 1)))
    return settings


def test_the_endpoint_is_told_once(interrupted: Settings):
    assert serving.complete_move("shop", interrupted) == 2
    assert read_release(interrupted, "shop").version == 2
    assert serving.complete_move("shop", interrupted) is None


def test_a_released_bundle_of_the_champion_stays_though_the_store_has_a_newer_one(
    interrupted: Settings, tiny_model: Path, tmp_path: Path
):
    champion = registry.champion(interrupted, "shop")
    model = another_model(tmp_path / "again", tiny_model, train_rows=2)
    source = build_source(tmp_path / "released", model, tiny_config("shop"), champion.version)
    released = Bundle("shop:2-old", source.parent, champion.version, champion.digest)
    write_release(interrupted, "shop", released)
    assert serving.follow_registry("shop", interrupted) == released
    (source / "release.json").unlink()
    assert serving.follow_registry("shop", interrupted).tag == "shop:2-x"
    assert read_release(interrupted, "shop").tag == "shop:2-x"


def test_a_run_that_is_at_work_tells_it_itself(interrupted: Settings):
    with single_flight(interrupted, "shop"):
        assert serving.complete_move("shop", interrupted) is None
    assert read_release(interrupted, "shop").version == 1


def test_a_model_that_was_never_live_is_left_alone(settings: Settings):
    assert serving.complete_move("shop", settings) is None
