"""What several tests need: our environment before any library reads it, an empty MLflow, a tiny trained model."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from components.models.model_directory import model_digest
from components.records import Bundle
from components.settings import Settings, apply_settings, read_settings

# Before any test imports mlflow, prefect or transformers: no telemetry, no hub, short waits.
HOME = tempfile.TemporaryDirectory(prefix="rebert-tests-")
apply_settings(read_settings({"REBERT_HOME": HOME.name}, Path("/")))
del os.environ["REBERT_HOME"], os.environ["MLFLOW_TRACKING_URI"]
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; making them takes a second or more, copying none."""
    from components.registry import open_store

    home = tmp_path_factory.mktemp("mlflow")
    open_store(read_settings({"REBERT_HOME": str(home)}, home))
    database = home / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:  # what is still in the write-ahead log is not in the file
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    """Settings of a new installation with an empty embedded MLflow."""
    settings = read_settings({"REBERT_HOME": "home"}, tmp_path)
    place = settings.home / "mlflow" / "mlflow.db"
    place.parent.mkdir(parents=True)
    shutil.copyfile(empty_database, place)
    return settings


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model."""
    from tests.tiny_model import build_tiny_base

    return build_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory named 'shop' with the labels bad, good and 很好."""
    from tests.model_folders import build_model

    return build_model(tmp_path_factory.mktemp("models") / "shop", tiny_base)


@pytest.fixture(scope="session")
def support_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory named 'support' that answers balance, card or refund."""
    from tests.bundles import build_model

    return build_model(tmp_path_factory.mktemp("support"))


@pytest.fixture(scope="session")
def support_bundle(support_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle]:
    """Version 1 of 'support' in a store of its own."""
    from components.serving.bundling import build_bundle
    from components.serving.releases import Evidence
    from tests.bundles import registered, tiny_config, tiny_settings

    settings, config = tiny_settings(tmp_path_factory.mktemp("store")), tiny_config()
    version = registered(config, 1, model_digest(support_model))
    return settings, build_bundle(settings, config, version, support_model, Evidence({"accuracy": 0.91}, "Better."))
