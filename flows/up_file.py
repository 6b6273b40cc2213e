"""The small settings file of `rebert up`: addresses, and secrets that are on no command line and in no run file.

Lines of NAME=VALUE with the tools' own names, such as PREFECT_SERVER_DATABASE_CONNECTION_URL or AWS_SECRET_ACCESS_KEY.
What the environment has already goes before it.
"""

from __future__ import annotations

import stat
from collections.abc import MutableMapping
from pathlib import Path

from components.errors import ConfigError
from components.settings import without_secrets

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def apply_file(path: Path, environment: MutableMapping[str, str]) -> None:
    """Set the variables of a file that the environment does not have.

    Raises:
        ConfigError: there is no such file, a line of it has no value, or others may read the secrets in it.
    """
    from dotenv import dotenv_values

    if not path.is_file():
        raise ConfigError(f"There is no settings file {path}.", "write one of lines NAME=VALUE, or name another.")
    try:
        found = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "make it a UTF-8 file that you may read.") from error
    empty = [name for name, value in found.items() if value is None]
    if empty:
        raise ConfigError(f"{path} has lines that are not NAME=VALUE: {', '.join(empty)}.", "correct these lines.")
    values = {name: value for name, value in found.items() if value is not None}
    if len(without_secrets(values)) < len(values) and path.stat().st_mode & OTHERS:
        raise ConfigError(f"{path} holds secrets, and others may read it.", f"run 'chmod 600 {path}'.")
    for name, value in values.items():
        environment.setdefault(name, value)
