"""The way to MLflow: its client from our settings, prepared once, and its exceptions as `RegistryError`.

Embedded (a SQLite file below `settings.home`) or a server (`MLFLOW_TRACKING_URI`): everything else is the same.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from time import monotonic
from typing import Any, Concatenate, ParamSpec, TypeVar

from components.errors import RegistryAway, RegistryError
from components.settings import Settings, without_passwords
from components.step_store import storage_errors

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

ANSWER_SECONDS = 5  # for the health check: a server that needs longer would make every call take minutes
TRUST_SECONDS = 5  # how long one good health check counts
PREPARE_SECONDS = 120  # for another process that makes the database; one second here, a minute on a slow disk
# What MLflow and its HTTP library log as an error or a retry they also raise, and we say it in one sentence.
LOG_LEVELS = {
    "alembic": logging.WARNING,
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}

_last_answer: dict[str, float] = {}


def open_store(settings: Settings) -> Any:
    """An `MlflowClient`; the embedded database is made the first time.

    Raises:
        RegistryError: the server does not answer, or the database is damaged or of another MLflow.
        StorageError: the embedded database cannot be written.
    """
    if is_server(settings.tracking_uri):
        _check_server(settings.tracking_uri)
    return _client(settings)


def is_server(uri: str) -> bool:
    """Whether an address names a server, which keeps its own artifacts."""
    return uri.startswith(("http://", "https://"))


def mlflow_errors(
    function: Callable[Concatenate[Settings, Arguments], Result],
) -> Callable[Concatenate[Settings, Arguments], Result]:
    """Turn what MLflow and its database raise inside `function` into a RegistryError."""

    @wraps(function)
    def translated(settings: Settings, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return function(settings, *args, **kwargs)
        except (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error) as error:
            raise translate(error, settings.tracking_uri) from error

    return translated


@cache
def _client(settings: Settings) -> Any:
    from mlflow import set_tracking_uri

    for name, level in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    uri = settings.tracking_uri
    set_tracking_uri(uri)  # downloads and data sets take no client
    if not uri.startswith("sqlite:"):
        return _client_of(uri)
    from filelock import FileLock

    database = Path(uri.removeprefix("sqlite:///"))
    with storage_errors(database):
        settings.locks.mkdir(parents=True, exist_ok=True)
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.locks / ".mlflow.lock", timeout=PREPARE_SECONDS):
            _prefer_write_ahead_log(database)
            return _client_of(uri)  # makes or checks the tables


def _client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    try:
        return MlflowClient(uri, uri)
    except ImportError as error:
        raise RegistryError(
            f"The database driver {error.name} for {without_passwords(uri)} is not installed.",
            "install it, or name the driver that you have: postgresql+psycopg2://USER:PASSWORD@HOST/NAME.",
        ) from error


def _prefer_write_ahead_log(database: Path) -> None:
    """Readers and a writer at once: the `mlflow ui` does not hold up a training."""
    connection = sqlite3.connect(database, timeout=20)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _check_server(uri: str) -> None:
    """Ask for the server's health, without retries: its own calls would wait for minutes.

    Raises:
        RegistryError: it does not answer.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if monotonic() - _last_answer.get(uri, -TRUST_SECONDS) < TRUST_SECONDS:
        return
    try:
        http_request(
            get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=ANSWER_SECONDS, raise_on_status=False
        )
    except MlflowException as error:
        raise translate(error, uri) from error
    _last_answer[uri] = monotonic()


def translate(error: Exception, uri: str) -> RegistryError:
    """What an exception of MLflow means to a person."""
    message = without_passwords(str(error))
    where = without_passwords(uri)
    for pattern, kind, problem, hint in MEANINGS:
        if re.search(pattern, message, re.IGNORECASE):
            return kind(problem.format(where=where), hint.format(where=where))
    first_line = message.strip().splitlines()[0] if message.strip() else type(error).__name__
    kind = RegistryAway if _is_a_fault_of_the_server(error) else RegistryError
    return kind(f"MLflow at {where} refused: {first_line[:300]}", "look into the log of MLflow.")


def is_away(error: Exception) -> bool:
    """Whether an exception of whatever library means that somebody did not answer, so that a later try may succeed."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return re.search(NO_ANSWER, f"{type(error).__name__}: {error}", re.IGNORECASE) is not None


def _is_a_fault_of_the_server(error: Exception) -> bool:
    """An answer 5xx that came as JSON; MLflow gives that code to its own exceptions in this process as well."""
    from mlflow.exceptions import RestException

    return isinstance(error, RestException) and error.get_http_status_code() >= SERVER_FAULT


SERVER_FAULT = 500
NO_ANSWER = (
    r"failed with (timeout )?exception|Max retries|Connection(Error| refused| aborted| reset)|could not connect"
    r"|can.t connect|timed out|Timeout(Error)?:|too many (429|5\d\d)|error code 5\d\d|\b5\d\d Server Error"
)

# First match counts. Patterns are of MLflow 3.17 and SQLite; the tests run each against the real thing.
MEANINGS: tuple[tuple[str, type[RegistryError], str, str], ...] = (
    (
        r"error code 40[13]|PERMISSION_DENIED|UNAUTHENTICATED|not authenticated|Invalid Host header",
        RegistryError,
        "MLflow at {where} does not let you in.",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN); "
        "where the server checks host names, start it with --allowed-hosts.",
    ),
    (
        NO_ANSWER,
        RegistryAway,
        "MLflow at {where} does not answer.",
        "start it, or correct MLFLOW_TRACKING_URI; without that variable rebert keeps its own MLflow below .rebert/.",
    ),
    (
        r"error code 404 != 200|ENDPOINT_NOT_FOUND|<!doctype html|<html|not valid JSON|JSONDecodeError",
        RegistryError,
        "{where} answers, but it is not an MLflow server.",
        "correct MLFLOW_TRACKING_URI.",
    ),
    (
        r"out-of-date database schema|Can't locate revision",
        RegistryError,
        "The database {where} was made by another version of MLflow.",
        "back it up and run 'mlflow db upgrade {where}'; or install the MLflow that made it.",
    ),
    (
        r"file is not a database|database disk image is malformed",
        RegistryError,
        "{where} is not a whole SQLite database.",
        "restore it from a backup, or move it away: a new one is made.",
    ),
    (
        r"readonly database|unable to open database file",
        RegistryError,
        "The database {where} cannot be written.",
        "make it and its folder writable, or set REBERT_HOME to another folder.",
    ),
    (
        r"database is locked",
        RegistryAway,
        "The database {where} was busy for 20 seconds.",
        "run again; where several machines share it, use an MLflow server.",
    ),
    (
        r"disk is full|No space left",
        RegistryError,
        "The disk of MLflow at {where} is full.",
        "free some space and run again; finished steps are kept.",
    ),
    (
        r"file(system)? (tracking|store|model registry).*(maintenance|deprecated)|Unsupported URI|no longer",
        RegistryError,
        "MLflow cannot use the address {where}.",
        "set MLFLOW_TRACKING_URI to the http address of a server, or unset it.",
    ),
)
