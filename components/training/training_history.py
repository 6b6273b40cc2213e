"""How a training goes: one JSON object for each logged step in `history.jsonl`, and the present state as `Progress`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HISTORY = "history.jsonl"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training is. `loss` is the mean since the last report, NaN before the first; rates count rows."""

    step: int
    steps: int
    epoch: float
    loss: float
    samples_per_second: float
    seconds_left: float

    @property
    def share(self) -> float:
        """Done, from 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    @property
    def text(self) -> str:
        """One line for a person."""
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.3f}"
        left = (
            f"{self.seconds_left:.0f} s left" if self.seconds_left < 120 else f"{self.seconds_left / 60:.0f} min left"
        )
        return f"step {self.step}/{self.steps}{loss}, {self.samples_per_second:.0f} rows/s, {left}"


class History:
    """The history file of a training, and the listener that hears of each new line.

    Args:
        path: of the JSONL file.
        on_progress: called after each logged step, or None.
        steps_before: of earlier trainings that this one goes on from; its curves begin behind theirs.
    """

    def __init__(self, path: Path, on_progress: Callable[[Progress], None] | None, steps_before: int = 0) -> None:
        self.path = path
        self.steps_before = steps_before
        self.on_progress = on_progress
        self.loss = math.nan
        self.samples_per_second = 0.0

    def go_back_to(self, step: int) -> None:
        """Drop the lines after a step, which are going to be made again; an unfinished line goes as well."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] - self.steps_before <= step]
        self.path.write_text("".join(kept), encoding="utf-8")

    def add(self, step: int, epoch: float, metrics: Mapping[str, Any]) -> None:
        """Write one line."""
        moment = {"step": self.steps_before + step, "epoch": round(epoch, 4), "time": round(time.time(), 3)}
        line = {**moment, "metrics": dict(metrics)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.loss = metrics.get("train_loss", self.loss)
        self.samples_per_second = metrics.get("samples_per_second", self.samples_per_second)

    def tell(self, step: int, steps: int, epoch: float, seconds_left: float) -> None:
        """Let the listener know where the training is."""
        if self.on_progress is not None:
            self.on_progress(Progress(step, steps, epoch, self.loss, self.samples_per_second, seconds_left))
