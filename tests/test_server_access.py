"""Servers that answer only those who may ask, secrets that come from files, and secrets that are found nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from components.errors import ConfigError, OrchestrationError, RegistryError
from components.registry import list_models
from components.secret_files import read_secret, secrets_from_files
from components.settings import Settings, apply_settings, read_settings
from flows.running import prepare_prefect
from flows.server_access import (
    _session_key,
    mlflow_access,
    prefect_access,
    prefect_password,
    require_closed,
)
from tests.mlflow_server import MlflowServer
from tests.prefect_server import free_port, prefect_server

SECRET = "planted-secret-17"
LOGIN = {"MLFLOW_TRACKING_USERNAME": "rebert", "MLFLOW_TRACKING_PASSWORD": SECRET}


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def test_a_secret_comes_from_the_environment_or_a_file(secret_file: Path):
    assert read_secret({"A": "x", "A_FILE": str(secret_file)}, "A") == "x"
    assert read_secret({"A_FILE": str(secret_file)}, "A") == SECRET
    assert read_secret({}, "A") is None


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [(None, 0, "cannot be read: No such file"), ("", 0o600, "is empty"), ("x", 0o666, "everybody may write it")],
)
def test_a_file_that_holds_no_secret_is_a_sentence(tmp_path: Path, content, mode, problem):
    place = tmp_path / "secret"
    if content is not None:
        place.write_text(content)
        place.chmod(mode)
    with pytest.raises(ConfigError, match=problem):
        read_secret({"A_FILE": str(place)}, "A")


def test_the_libraries_find_their_secrets_from_files_in_the_environment(secret_file: Path, tmp_path: Path):
    environment = {"PREFECT_API_AUTH_STRING_FILE": str(secret_file), "MLFLOW_TRACKING_PASSWORD": "own"}
    apply_settings(read_settings(environment, tmp_path), environment)
    assert environment["PREFECT_API_AUTH_STRING"] == SECRET
    assert environment["MLFLOW_TRACKING_PASSWORD"] == "own"
    assert secrets_from_files({"OTHER_FILE": str(secret_file)}) == {}


def test_an_address_with_a_password_may_lie_in_a_file(tmp_path: Path):
    place = tmp_path / "address"
    place.write_text(f"http://me:{SECRET}@mlflow.example")
    place.chmod(0o600)
    assert SECRET in read_settings({"MLFLOW_TRACKING_URI_FILE": str(place)}, tmp_path).tracking_uri


def test_the_password_serves_both_sides_of_prefect():
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        assert set(prefect_password({name: f"me:{SECRET}"}).values()) == {f"me:{SECRET}"}
    assert prefect_password({}) == {}
    with pytest.raises(ConfigError, match="not of the form USER:PASSWORD") as caught:
        prefect_password({"PREFECT_SERVER_API_AUTH_STRING": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "me"}, "only one is set"),
        ({"MLFLOW_TRACKING_PASSWORD": SECRET}, "only one is set"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "short"}, "fewer than 12 characters"),
    ],
)
def test_a_half_password_of_mlflow_is_refused(settings: Settings, environment, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        mlflow_access(settings, environment)
    assert SECRET not in str(caught.value)


def test_no_command_line_and_no_file_holds_mlflows_password(settings: Settings):
    access = mlflow_access(settings, LOGIN)
    assert mlflow_access(settings, {}).words == ()
    assert SECRET not in f"{access.words} {access}"
    assert SECRET not in (settings.home / "mlflow" / "auth.ini").read_text()
    key = settings.home / "mlflow" / "session.key"
    assert key.stat().st_mode & 0o077 == 0
    assert mlflow_access(settings, LOGIN) == access  # sessions outlive a restart


def test_a_key_of_sessions_that_a_kill_left_empty_is_made_anew(settings: Settings):
    key = settings.home / "mlflow" / "session.key"
    key.parent.mkdir(exist_ok=True)
    key.touch()
    made = _session_key(settings)
    assert len(made) == 64
    assert (_session_key(settings), key.stat().st_mode & 0o777) == (made, 0o600)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_servers_may_be_open(host: str):
    assert require_closed(host, {}) is None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "10.0.0.5",
        "mlflow.example",
        "::",
    ],
)
def test_beyond_this_machine_they_may_not(host: str):
    with pytest.raises(OrchestrationError, match=f"Prefect and MLflow would answer everybody who reaches {host}"):
        require_closed(host, {})
    with pytest.raises(OrchestrationError, match=r"^MLflow would answer"):
        require_closed(host, {"PREFECT_SERVER_API_AUTH_STRING": "a:b"})
    require_closed(host, {"PREFECT_SERVER_API_AUTH_STRING": "a:b", **LOGIN})


@pytest.fixture(scope="module")
def closed_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    access = prefect_access({"PREFECT_SERVER_API_AUTH_STRING": f"me:{SECRET}"}, "127.0.0.1", port)
    with prefect_server(home, access.environment, port) as url:
        yield home, url


@pytest.mark.slow
def test_prefect_answers_who_has_the_password(closed_prefect, tmp_path: Path, monkeypatch):
    _, url = closed_prefect
    settings = read_settings({"REBERT_HOME": str(tmp_path), "PREFECT_API_URL": url}, tmp_path)
    for wrong in ("", "me:wrong"):
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", wrong)
        with pytest.raises(OrchestrationError, match="does not let you in") as caught:
            prepare_prefect(settings)
        assert "PREFECT_API_AUTH_STRING_FILE" in caught.value.hint
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"me:{SECRET}")
    prepare_prefect(settings)
    without_token = httpx.post(f"{url}/deployments/filter", json={}, auth=("me", SECRET))
    assert without_token.status_code == 403  # a page elsewhere that a browser visits can do no more
    foreign = httpx.options(
        f"{url}/flows/", headers={"origin": "http://evil.example", "access-control-request-method": "POST"}
    )
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.slow
def test_our_commands_work_with_a_password_from_a_file_that_no_file_of_the_server_holds(closed_prefect, tmp_path: Path):
    home, url = closed_prefect
    secret = tmp_path / "auth"
    secret.write_text(f"me:{SECRET}")
    secret.chmod(0o600)
    environment = {**os.environ, "REBERT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}
    environment |= {"PREFECT_API_AUTH_STRING_FILE": str(secret)}
    command = [sys.executable, "-m", "flows.cli", "schedule"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "Nothing is deployed yet" in told.stdout, told.stderr
    assert [path for path in home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_mlflow_answers_who_has_the_password(tmp_path: Path, empty_database: Path, settings: Settings, monkeypatch):
    access = mlflow_access(settings, LOGIN)
    server = MlflowServer(tmp_path / "server", empty_database)
    server.start(access.words, access.environment)
    try:
        assert httpx.get(f"{server.address}/api/2.0/mlflow/experiments/get?experiment_id=0").status_code == 401
        foreign = httpx.get(server.address, headers={"host": "evil.example"}, auth=("rebert", SECRET))
        assert foreign.status_code == 403
        there = read_settings({"MLFLOW_TRACKING_URI": server.address, "REBERT_HOME": str(tmp_path / "c")}, tmp_path)
        with pytest.raises(RegistryError, match="does not let you in"):
            list_models(there)
        for name, value in LOGIN.items():
            monkeypatch.setenv(name, value)
        assert list_models(there) == []
        assert SECRET not in (tmp_path / "server" / "server.log").read_text()
    finally:
        server.kill()
