"""What the process of an endpoint is given; tests/test_serving.py runs real ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from components.records import Bundle
from components.serving import keeper as keeper_module
from components.serving.api_keys import add_key
from components.serving.endpoint_process import _environment
from components.serving.keeper import Keeper
from components.serving.places import Places, read_places
from components.settings import read_settings
from flows import serving
from flows.endpoints import port_of

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


def test_a_release_that_the_child_does_not_swap_to_is_told_once(tmp_path: Path, monkeypatch) -> None:
    told: list[tuple[str, int]] = []
    keeper = Keeper(read_settings({}, tmp_path), "support", None, 1, lambda: None, None)  # type: ignore[arg-type,return-value]
    keeper.on_refusal = lambda bundle, live: told.append((bundle.tag, live))
    bad, good = (Bundle(f"support:{version}-x", tmp_path, version, "0" * 64) for version in (2, 1))
    keeper._look_for_refusal(bad, 1)
    keeper._look_for_refusal(bad, 1)
    assert not told  # it may be loading
    monkeypatch.setattr(keeper_module, "REFUSED_SECONDS", -1.0)
    for _ in range(3):
        keeper._look_for_refusal(bad, 1)
    assert told == [("support:2-x", 1)]
    keeper._look_for_refusal(good, 1)
    assert keeper.refused[0] is None


def test_a_rollback_says_where_the_endpoint_does_not_follow(tmp_path: Path, monkeypatch, capsys) -> None:
    settings = read_settings({"REBERT_HOME": "home"}, tmp_path)
    limits = SimpleNamespace(serving=SimpleNamespace(port=3000))
    monkeypatch.setattr("components.serving.releases.read_bundle_release", lambda _source: limits)
    monkeypatch.setattr(serving, "SWAP_SECONDS", 0.0)
    answers = {"http://127.0.0.1:3000": 2}
    monkeypatch.setattr("components.serving.endpoint_process.version_at", lambda address: answers.get(address.url))
    bundle = Bundle("support:1-x", tmp_path, 1, "0" * 64)
    serving._wait_for_endpoint("support", settings, bundle)
    assert "http://127.0.0.1:3000 still answers with version 2" in capsys.readouterr().err
    port_of("support", 3000, settings, "127.0.0.1")  # 'rebert up' has given it a port
    ports = settings.home / "up" / "ports.json"
    ports.write_text('{"support": [3000, 3001]}')
    answers["http://127.0.0.1:3001"] = 1
    serving._wait_for_endpoint("support", settings, bundle)
    answers.clear()  # nothing is running
    serving._wait_for_endpoint("support", settings, bundle)
    assert not capsys.readouterr().err
