"""What is known of a request while it is answered: for the request log and the metrics, never for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.task_types import Row
from service.engine import Engine
from service.window_queue import Answered


@dataclass(slots=True)
class Entry:
    """One request: `id` is sent back as X-Request-Id, `client` is the name of its API key, empty without one.

    `answered` is what the monitor measures; `part` numbers the slices of a batch, from 1, `parts` counts them.
    """

    id: str
    client: str = ""
    version: int | None = None
    rows: Sequence[Row] = ()
    predictions: Sequence[dict[str, Any]] = ()
    answered: Answered[Engine] | None = None
    part: int = 0
    parts: int = 0
