"""A command's own Prefect server: it answers, is gone when the command is, and a busy database costs no seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from components.errors import OrchestrationError
from flows import own_server
from flows.own_server import OwnServer, address_for_prefect, again_soon, not_again_when_full

COMMAND = """
import os, pathlib, time
from components.settings import apply_settings, read_settings
from flows.own_server import OwnServer
settings = read_settings({"REBERT_HOME": "home"}, pathlib.Path.cwd())
apply_settings(settings)
server = OwnServer(settings)
server.wait()
print(server.url, flush=True)
time.sleep(600)
"""


def test_a_killed_command_leaves_no_server_behind(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = subprocess.Popen((sys.executable, "-c", COMMAND), cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    assert command.stdout is not None
    with command.stdout:
        address = command.stdout.readline().decode().strip()
    assert httpx.get(f"{address}/health").json() is True
    started = psutil.Process(command.pid).children()
    assert len(started) == 1
    command.send_signal(signal.SIGKILL)
    command.wait()
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert (len(gone), alive) == (1, [])


def test_a_server_that_cannot_start_says_why(settings, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "soon")
    server = OwnServer(settings)
    with pytest.raises(OrchestrationError, match="Prefect's own server did not start"):
        server.wait()
    server.end()
    assert list((settings.home / "logs").iterdir()) == []


def test_only_what_is_imported_inside_learns_the_address(monkeypatch):
    class Started:
        url = "http://127.0.0.1:1/api"

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with address_for_prefect(Started()):
        assert os.environ["PREFECT_API_URL"] == Started.url
    assert "PREFECT_API_URL" not in os.environ
    with address_for_prefect(None):
        assert "PREFECT_API_URL" not in os.environ


def test_who_is_turned_away_is_asked_back_soon_and_after_three_times_waits_its_own_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(own_server.time, "monotonic", lambda: now[0])
    statuses = [200, *[503] * 6]
    heard: list[list[tuple[bytes, bytes]]] = []

    async def busy(scope, receive, send):
        await send({"type": "http.response.start", "status": statuses.pop(0), "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    async def hear(message):
        if message["type"] == "http.response.start":
            heard.append(message["headers"])

    app = again_soon(busy)
    turns = ((0, "/x"), (10, "/x"), (10.2, "/x"), (10.3, "/y"), (10.6, "/x"), (11.4, "/x"), (17, "/x"))
    for seconds, path in turns:
        now[0] = seconds
        asyncio.run(app({"path": path}, None, hear))
    waits = [dict(headers).get(b"retry-after") for headers in heard]
    assert waits == [None, b"0.2", b"0.4", b"0.2", b"0.8", None, b"0.2"]


@pytest.mark.parametrize(
    ("free", "path", "status"),
    [(1 << 30, "/api/task_runs/", 500), (4096, "/api/task_runs/", 507), (4096, "/api/logs/", 201)],
)
def test_a_full_disk_is_not_asked_again(monkeypatch, tmp_path, free, path, status):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    heard: list[dict] = []

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def hear(message):
        heard.append(message)

    asyncio.run(not_again_when_full(broken, tmp_path)({"path": path}, None, hear))
    assert heard[0]["status"] == status
