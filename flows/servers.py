"""The servers and workers that can be started here: their commands, and what each may know.

A command is seen by everybody on the machine, so passwords and keys are only in the environment, and each process gets
its own alone: Prefect's server what begins with PREFECT_, MLflow's its own and those of its object store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from components.settings import Settings, environment_of, without_secrets
from components.supervision.keeping import answers
from components.supervision.programs import Program
from flows.server_access import CLIENT_AUTH, mlflow_access, prefect_access, prefect_password

LOOPBACK = "127.0.0.1"
ANYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - where we ask a server that listens everywhere
OF_PREFECT = ("PREFECT_", "PG")
OF_MLFLOW = ("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "PG")
# Not all of PREFECT_API_: the server's database has a name that begins so.
OF_CLIENTS = ("PREFECT_API_URL", "PREFECT_API_AUTH_", "PREFECT_API_KEY", "PREFECT_CLIENT_", "MLFLOW_TRACKING_")
OF_WORKERS = (*OF_CLIENTS, "REBERT_WEBHOOK")  # a run tells people what becomes of it
# In memory, as it comes, the leases of running flows are lost when the server dies, and Prefect then ends those flows.
LEASES = "prefect.server.concurrency.lease_storage.filesystem"


def prefect_server(settings: Settings, host: str, port: int) -> Program:
    """Prefect's server and page, on SQLite or on PREFECT_SERVER_DATABASE_CONNECTION_URL.

    Raises:
        ConfigError: its password is not USER:PASSWORD.
    """
    own = {
        # The page asks port 4200 for its data unless it is told otherwise.
        "PREFECT_SERVER_UI_API_URL": "/api" if host in ANYWHERE else f"http://{_in_url(host)}:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
    }
    access = prefect_access(os.environ, ANYWHERE.get(host, host), port)
    environment = own | _environment(settings, OF_PREFECT) | dict(access.environment)
    environment.pop("PREFECT_API_URL", None)  # it is that server itself
    asked = ANYWHERE.get(host, host)
    return Program(
        "prefect",
        (sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)),
        environment,
        partial(answers, asked, port, "/api/health"),
        log_file(settings, "prefect"),
        f"http://{_in_url(asked)}:{port}",
    )


def mlflow_server(settings: Settings, host: str, port: int) -> Program:
    """MLflow's server and page, on the database that `settings` names and the folder or store of its artifacts.

    Raises:
        ConfigError: its password is not whole, or cannot be asked for.
    """
    place = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or str(settings.artifacts)
    listen = ("--host", host, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--no-access-log")
    backend = os.environ.get("MLFLOW_BACKEND_STORE_URI") or settings.tracking_uri
    access = mlflow_access(settings, os.environ)
    environment = _environment(settings, OF_MLFLOW) | {"MLFLOW_BACKEND_STORE_URI": backend} | dict(access.environment)
    environment.pop("MLFLOW_TRACKING_URI", None)  # it is that server itself
    asked = ANYWHERE.get(host, host)
    return Program(
        "mlflow",
        (sys.executable, "-m", "mlflow", "server", "--artifacts-destination", place, *listen, *access.words),
        environment,
        partial(answers, asked, port, "/health"),
        log_file(settings, "mlflow"),
        f"http://{_in_url(asked)}:{port}",
    )


def prefect_worker(settings: Settings, pool: str, limit: int, port: int) -> Program:
    """A worker that carries out what is due, so many runs at a time; asked for its health on a port of this machine.

    A run goes on when only its worker dies; when all is ended, it ends as well.
    """
    command = (sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process")
    listen = {"PREFECT_WORKER_WEBSERVER_HOST": LOOPBACK, "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
    return Program(
        f"worker {pool}",
        (*command, "--limit", str(limit), "--with-healthcheck"),
        _environment(settings, OF_WORKERS) | _password_of_clients() | listen,
        partial(answers, LOOPBACK, port, "/health"),
        log_file(settings, f"worker-{pool}"),
        stop_seconds=30.0,
        orphans=True,
    )


def _password_of_clients() -> dict[str, str]:
    return {name: value for name, value in prefect_password(os.environ).items() if name == CLIENT_AUTH}


def log_file(settings: Settings, name: str) -> Path:
    """Where a program's output goes."""
    return settings.home / "logs" / f"{name}.log"


def _environment(settings: Settings, secrets: tuple[str, ...]) -> dict[str, str]:
    """What every process may know, and the secrets whose names begin so."""
    known: Mapping[str, str] = {**os.environ, **environment_of(settings)}
    if settings.prefect_api_url:
        known = {**known, "PREFECT_API_URL": settings.prefect_api_url}
    own = {name: value for name, value in known.items() if name.startswith(secrets)}
    return {**without_secrets(known), **own, "PYTHONUNBUFFERED": "1"}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
