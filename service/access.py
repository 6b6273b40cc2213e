"""Who may ask: everybody while there is no file of API keys, and from then on only who sends a key that is in it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from components.errors import ProjectError
from components.serving.api_keys import hash_key, read_keys
from service.guard import Scope, header
from service.problems import no_key, wrong_key
from service.watched_file import WatchedFile

BEARER = b"bearer "

log = logging.getLogger(__name__)


class Access:
    """Admits requests by their API key.

    The file is looked at with each request: a key that is added or revoked is so at once. Where it has been damaged or
    removed meanwhile, nobody is admitted; only who starts it anew without the file opens the endpoint.

    Args:
        path: the file of keys; None where everybody may ask.
        required: nobody may ask while there is no file either: there has been one.
    """

    def __init__(self, path: Path | None, *, required: bool = False) -> None:
        self.file = WatchedFile(path)
        self.holders: dict[str, tuple[str, float]] | None = (
            {} if required else None
        )  # by hash: name, and when it ends; None: all may ask

    def admit(self, scope: Scope) -> str:
        """The name of the key that a request was sent with; empty where none is needed.

        Raises:
            Problem: 401 without a key, or with one that is not known or holds no longer.
        """
        if self.file.changed():
            self._read()
        if self.holders is None:
            return ""
        key = _key_of(scope)
        if not key:
            raise no_key()
        name, ends = self.holders.get(hash_key(key), ("", 0.0))
        if time.time() >= ends:
            raise wrong_key()
        return name

    def _read(self) -> None:
        self.holders = {}
        path = self.file.path
        if path is None or not path.exists():
            log.error("The file of API keys is gone: nobody is admitted.")
            return
        try:
            for key in read_keys(path):
                self.holders[key.sha256] = (key.name, key.expires.timestamp() if key.expires else float("inf"))
        except ProjectError as error:
            log.error("Nobody is admitted: %s", error.problem)  # noqa: TRY400 - a person can mend it; no traceback


def _key_of(scope: Scope) -> str:
    given = header(scope, b"authorization")
    key = given[len(BEARER) :].strip() if given[: len(BEARER)].lower() == BEARER else header(scope, b"x-api-key")
    return key.decode("latin-1")
