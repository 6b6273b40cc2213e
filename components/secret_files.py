"""Secrets: from the environment, or from files that it names with `_FILE` behind the variable's name.

So containers get them (`/run/secrets/…`), and so they stand in no process list and no unit file. They are in no record,
no run file and no flow parameter.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from components.errors import ConfigError

FILE = "_FILE"
# What the libraries read from the environment alone.
OF_LIBRARIES = (
    *("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_DATABASE_CONNECTION_URL"),
    *(
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
    ),
    *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"),
)


def read_secret(environment: Mapping[str, str], name: str) -> str | None:
    """The value of a variable, or the content of the file that NAME_FILE names; None where there is neither.

    Raises:
        ConfigError: the file cannot be read, is empty, or everybody may write it.
    """
    if environment.get(name):
        return environment[name]
    place = environment.get(name + FILE)
    if not place:
        return None
    try:
        value = Path(place).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{name}{FILE} names {place}, which cannot be read: {why}.", "correct the path.") from error
    if not value:
        raise ConfigError(f"{name}{FILE} names {place}, which is empty.", "write the secret into it.")
    if os.name == "posix" and Path(place).stat().st_mode & stat.S_IWOTH:
        raise ConfigError(f"{place} holds a secret, and everybody may write it.", f"run 'chmod 600 {place}'.")
    return value


def names_file_of_secret(name: str) -> bool:
    """Whether a variable names a file with what may be a secret, also an address that may hold a password; `__FILE` is
    what the containers read."""
    return name.endswith(FILE) and name.removesuffix(FILE).rstrip("_") in OF_LIBRARIES


def secrets_from_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets of the libraries that the environment gives as files, as the variables that they read.

    Raises:
        ConfigError: a file cannot be read.
    """
    named = [name for name in OF_LIBRARIES if environment.get(name + FILE) and not environment.get(name)]
    return {name: value for name in named if (value := read_secret(environment, name)) is not None}
