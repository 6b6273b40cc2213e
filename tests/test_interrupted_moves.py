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


def test_a_run_that_is_at_work_tells_it_itself(interrupted: Settings):
    with single_flight(interrupted, "shop"):
        assert serving.complete_move("shop", interrupted) is None
    assert read_release(interrupted, "shop").version == 1


def test_a_model_that_was_never_live_is_left_alone(settings: Settings):
    assert serving.complete_move("shop", settings) is None
