"""API keys: made here and shown once; only their hashes are kept, in one file that running endpoints watch.

A key is 256 random bits, so that a plain SHA-256 of it tells nothing to who reads the file: there is no dictionary of
such keys to try. As soon as the file is there, endpoints answer only who sends a key of it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from components.digests import canonical
from components.errors import ConfigError
from components.step_store import storage_errors, write_whole

if TYPE_CHECKING:
    from filelock import BaseFileLock

PREFIX = "rebert_"  # lets scanners of repositories find a key that was committed
NAMES = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class ApiKey(BaseModel):
    """What is kept of a key. `expires` is None for one that holds until it is revoked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    created: datetime
    expires: datetime | None = None


class ApiKeys(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...] = ()


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def add_key(path: Path, name: str, days: int | None = None) -> str:
    """Make a key for somebody; returns it. It cannot be shown again.

    Args:
        path: the file of keys; made where it is missing.
        name: who gets it; stands in the request log.
        days: after which it stops to hold; None for never.

    Raises:
        ConfigError: the name is taken or no name, or the file is damaged.
        StorageError: the file cannot be written.
    """
    if not NAMES.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a key.", "use lower-case letters, digits, '.', '_' and '-', at most 63."
        )
    key = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + timedelta(days=days) if days is not None else None
    with _locked(path):
        known = read_keys(path)
        if any(one.name == name for one in known):
            raise ConfigError(
                f"There is a key named '{name}' already.",
                "take another name, give the new key out, and revoke the old one then.",
            )
        _write(path, (*known, ApiKey(name=name, sha256=hash_key(key), created=now, expires=expires)))
    return key


def revoke_key(path: Path, name: str) -> None:
    """Let a key hold no longer. The file stays when its last key goes: an endpoint never opens by itself.

    Raises:
        ConfigError: there is no such key, or the file is damaged.
        StorageError: the file cannot be written.
    """
    with _locked(path):
        known = read_keys(path)
        if all(one.name != name for one in known):
            names = ", ".join(one.name for one in known) or "none"
            raise ConfigError(f"There is no key named '{name}'; there are: {names}.", "name one of them.")
        _write(path, tuple(one for one in known if one.name != name))


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """What is kept of every key; none while there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    if not path.exists():
        return ()
    try:
        return ApiKeys.model_validate_json(path.read_bytes()).keys
    except (ValidationError, OSError) as error:
        raise ConfigError(
            f"{path} is no file of keys.", "restore it; or remove it and restart: nobody needs a key then."
        ) from error


def _locked(path: Path) -> BaseFileLock:
    from filelock import FileLock  # an endpoint only reads

    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path.with_name(f".{path.name}.lock"), timeout=10)


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    with storage_errors(path):
        write_whole(path, canonical(ApiKeys(keys=keys).model_dump(mode="json")))
        path.chmod(0o600)
