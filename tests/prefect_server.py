"""A real Prefect server in a process of its own, with the services that plan runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def prefect_server(home: Path, more: Mapping[str, str] | None = None, port: int | None = None) -> Iterator[str]:
    """The address of its API.

    Args:
        home: for its database and its log.
        more: variables beside ours.
    """
    port = port or free_port()
    environment = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**environment, **(more or {})}, stdout=log, stderr=log)
    try:
        until(lambda: httpx.get(f"{url}/health").is_success)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def until(happened: Callable[[], Any], seconds: float = 120) -> Any:
    """What a function returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := happened():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError("it did not happen in time")
