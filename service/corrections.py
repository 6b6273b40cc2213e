"""`POST /feedback`: true answers that people send, kept for the next training, a line of JSON each.

A line has the columns of a data file of its task type, so that a run file can name the file as it is, and beside them
where it comes from: when, from whom, and which version was live.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from components.task_types.base import Fault
from service.answering import Answering, json_reply
from service.engine import Engine
from service.guard import Receive, Reply, Scope
from service.private_files import open_private
from service.problems import no_corrections, not_kept, not_learnable
from service.requests import all_problems

MOST_BYTES = 1 << 30  # of the file

log = logging.getLogger(__name__)


class Corrections:
    """Takes and keeps corrections.

    Args:
        answering: says which model is live.
        path: the file; None where none are taken.
    """

    def __init__(self, answering: Answering, path: Path | None) -> None:
        self.answering = answering
        self.path = path
        self.lock = threading.Lock()

    @property
    def kept(self) -> bool:
        """Whether there is a place for them."""
        return self.path is not None

    async def take(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /feedback`."""
        engine = self.answering.engine()
        limits = engine.release.serving
        form = engine.forms.correction
        if self.path is None or form is None:
            raise no_corrections()
        body = await self.answering.read_json(scope, receive, limits)
        try:
            correction: BaseModel = form.model_validate_json(body)
        except ValidationError as error:
            raise all_problems(error) from None  # the cause quotes the text
        given = correction.model_dump(exclude_unset=True)
        scope["entry"].rows = [{key: given[key] for key in engine.requests.inputs}]
        scope["entry"].version = engine.release.version
        _require_learnable(engine, given)
        await asyncio.to_thread(self._append, self.path, {**given, **_provenance(engine, scope)})
        self.answering.metrics.corrections.inc()
        return json_reply({"stored": True, "id": scope["entry"].id, "version": engine.release.version}, status=201)

    def _append(self, path: Path, line: Mapping[str, Any]) -> None:
        """Add a line, whole and on the disk; a half line that a crash has left before it stays alone."""
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            with self.lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                with open_private(path, "a+b") as file:
                    size = file.seek(0, os.SEEK_END)
                    if size + len(content) > MOST_BYTES:
                        raise OSError("the file is full")
                    file.seek(max(0, size - 1))
                    file.write(content if file.read(1) in (b"", b"\n") else b"\n" + content)
                    os.fsync(file.fileno())
        except OSError as error:
            log.error("A correction is lost: %s.", error.strerror or error)  # noqa: TRY400
            raise not_kept() from None


def _require_learnable(engine: Engine, given: Mapping[str, Any]) -> None:
    """That the training would take this row, by the training's own rule."""
    kind = engine.predictor.task_type
    roles = kind.roles()
    if not kind.rewrites:
        return
    cells = {
        name: json.dumps(value, ensure_ascii=False) if roles[name].kind == "json" else str(value)
        for name, value in given.items()
        if name in roles
    }
    found = kind.read(cells, engine.manifest.settings)
    if isinstance(found, Fault):
        raise not_learnable(kind.faults[found.check])


def _provenance(engine: Engine, scope: Scope) -> dict[str, Any]:
    entry, release = scope["entry"], engine.release
    return {
        "id": entry.id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": entry.client,
        "model": release.name,
        "version": release.version,
        "digest": release.model_digest,
    }
