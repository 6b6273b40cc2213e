"""What the process of an endpoint is given; tests/test_serving.py runs real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.serving.api_keys import add_key
from components.serving.endpoint_process import _environment
from components.serving.keeper import Keeper
from components.serving.places import Places, read_places
from components.settings import read_settings

SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_KEY",
    "HF_TOKEN", "BENTOML_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "PYTHONPATH", "REBERT_RELEASE_FILE",
)  # fmt: skip
NEEDED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")


def test_an_endpoint_inherits_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, *NEEDED):
        monkeypatch.setenv(name, "mine")
    given = _environment(read_settings({"MLFLOW_TRACKING_URI": "http://me:hunter2@mlflow"}, tmp_path), Places())
    assert not set(SECRETS) & set(given)
    assert not [value for value in given.values() if "hunter2" in value]
    assert set(NEEDED) <= set(given)
    quiet = ("DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "BENTOML_HOME")
    assert set(quiet) <= set(given)


def test_an_endpoint_is_told_which_release_it_follows(tmp_path: Path) -> None:
    given = _environment(read_settings({}, tmp_path), Places(release=tmp_path / "support.json"))
    assert given["REBERT_RELEASE_FILE"] == str(tmp_path / "support.json")
    assert "REBERT_KEYS_REQUIRED" not in given


def test_an_endpoint_that_is_started_again_is_told_that_there_were_keys(tmp_path: Path) -> None:
    settings = read_settings({"REBERT_HOME": "home"}, tmp_path)
    keeper = Keeper(settings, "support", None, 1, lambda: None, None)  # type: ignore[arg-type,return-value]
    assert not keeper._wants_keys()
    add_key(settings.keys, "shop")
    assert keeper._wants_keys()
    settings.keys.unlink()
    places = Places(keys=settings.keys, keys_required=keeper._wants_keys())
    assert read_places(_environment(settings, places)) == places
