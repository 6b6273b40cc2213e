"""API keys: shown once, kept as hashes, and obeyed by a running endpoint at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from components.digests import canonical
from components.errors import ConfigError
from components.serving.api_keys import ApiKeys, add_key, hash_key, read_keys, revoke_key
from components.serving.places import Places
from flows.cli import app
from service.application import Application
from tests.bundles import build_source, tiny_config

OPEN = ("/livez", "/readyz", "/")
CLOSED = ("/model", "/openapi.json", "/metrics", "/nope")


@pytest.fixture(scope="module")
def endpoint(support_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Path]]:
    """A running endpoint and its file of keys, which is not there yet."""
    folder = tmp_path_factory.mktemp("keys")
    application = Application(build_source(folder, support_model, tiny_config()), Places(keys=folder / "keys.json"))
    with TestClient(application) as client:
        yield client, folder / "keys.json"


@pytest.fixture
def keys(endpoint: tuple[TestClient, Path]) -> Path:
    return endpoint[1]


@pytest.fixture
def client(endpoint: tuple[TestClient, Path]) -> TestClient:
    """The endpoint before the first key, whatever the tests before have made."""
    client, keys = endpoint
    keys.unlink(missing_ok=True)
    client.app.access.__init__(keys)
    return client


def ask(client: TestClient, key: str | None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return client.post("/predict", json={"text": "card"}, headers=headers).status_code


def test_a_key_is_asked_for_from_the_first_key_on_and_only_for_what_tells_something(client: TestClient, keys: Path):
    assert ask(client, None) == 200
    key = add_key(keys, "shop")
    assert (ask(client, None), ask(client, "rebert_x"), ask(client, key)) == (401, 401, 200)
    assert client.post("/predict", json={"text": "card"}, headers={"x-api-key": key}).status_code == 200
    assert [client.get(path).status_code for path in OPEN] == [200] * len(OPEN)
    assert [client.get(path).status_code for path in CLOSED] == [401] * len(CLOSED)


def test_keys_are_rotated_without_a_restart(client: TestClient, keys: Path):
    old = add_key(keys, "shop")
    new = add_key(keys, "shop-2")
    assert (ask(client, old), ask(client, new)) == (200, 200)
    revoke_key(keys, "shop")
    assert (ask(client, old), ask(client, new)) == (401, 200)
    revoke_key(keys, "shop-2")
    assert (ask(client, new), ask(client, None)) == (401, 401)


def test_a_key_ends_on_its_day(client: TestClient, keys: Path):
    key = add_key(keys, "shop", days=1)
    assert ask(client, key) == 200
    [kept] = read_keys(keys)
    assert kept.expires is not None
    assert timedelta(hours=23) < kept.expires - datetime.now(UTC) <= timedelta(days=1)
    over = kept.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    keys.write_text(canonical(ApiKeys(keys=(over,)).model_dump(mode="json")))
    assert ask(client, key) == 401


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"keys": [{"name": "x"}]}', None], ids=str)
def test_a_damaged_or_removed_file_admits_nobody(client: TestClient, keys: Path, damage: str | None, caplog):
    key = add_key(keys, "shop")
    assert ask(client, key) == 200
    with caplog.at_level(logging.ERROR):
        keys.unlink() if damage is None else keys.write_text(damage)
        assert (ask(client, key), ask(client, None)) == (401, 401)
    assert "admit" in caplog.text
    assert key not in caplog.text


def test_a_restart_after_the_file_is_gone_does_not_open_the_endpoint(client: TestClient, keys: Path):
    client.app.access.__init__(keys, required=True)
    assert ask(client, None) == 401
    assert ask(client, add_key(keys, "shop")) == 200


def test_a_refusal_says_how_to_ask(client: TestClient, keys: Path):
    add_key(keys, "shop")
    response = client.post("/predict", json={"text": "card"})
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["problem"] == "This endpoint wants an API key."
    wrong = client.get("/model", headers={"authorization": "Bearer \xff\x00".encode("latin-1")})
    assert wrong.json()["error"]["problem"] == "The API key is not known, or holds no longer."


def test_only_a_hash_is_kept_and_only_its_owner_may_read_it(tmp_path: Path):
    keys = tmp_path / "new" / "keys.json"
    key = add_key(keys, "shop")
    assert key.startswith("rebert_")
    assert len(key) > 40
    assert key not in keys.read_text()
    assert hash_key(key) in keys.read_text()
    assert keys.stat().st_mode & 0o777 == 0o600


def test_mistakes_with_keys_are_told(tmp_path: Path):
    keys = tmp_path / "keys.json"
    add_key(keys, "shop")
    with pytest.raises(ConfigError, match="There is a key named 'shop' already"):
        add_key(keys, "shop")
    with pytest.raises(ConfigError, match=r"no key named 'till'; there are: shop"):
        revoke_key(keys, "till")
    with pytest.raises(ConfigError, match="is no name for a key"):
        add_key(keys, "../x")
    keys.write_text("{")
    with pytest.raises(ConfigError, match="is no file of keys"):
        read_keys(keys)


def test_the_command_shows_a_key_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REBERT_HOME", str(tmp_path))
    monkeypatch.setattr("flows.command_line.apply_settings", lambda _: None)
    made = CliRunner().invoke(app, ["keys", "add", "shop"])
    key = made.stdout.strip()
    assert [one.sha256 for one in read_keys(tmp_path / "keys.json")] == [hash_key(key)]
    listed = CliRunner().invoke(app, ["keys", "list", "--json"])
    assert '"shop"' in listed.stdout
    assert key not in listed.stdout
    assert CliRunner().invoke(app, ["keys", "revoke", "shop"]).exit_code == 0
    assert read_keys(tmp_path / "keys.json") == ()
