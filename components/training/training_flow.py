"""When a training logs, evaluates, saves and stops, and what its history says. Imports transformers: import it late."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from components.errors import TrainingError
from components.training.training_history import History

CHECKPOINT_SECONDS = 60.0  # work that a kill may cost


def _alone(due: bool) -> bool:
    return due


def _nothing(_seconds: float) -> dict[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a flow must know of its training.

    Args:
        rows: that an epoch has.
        rows_a_step: of all processes together.
        learning_rate: the peak, for the advice when a training diverges.
        metric: a logged name that starts with it is an evaluation's.
        evaluate_steps: steps between two evaluations; None evaluates after each epoch.
        writes: whether this process writes the history; one of several does.
        exhausted: whether to stop, asked after each evaluation.
        measures: further numbers of the time since the last line, from its seconds.
        agreed: makes all processes do what the first has found due.
    """

    rows: int
    rows_a_step: int
    learning_rate: float
    metric: str
    evaluate_steps: int | None = None
    writes: bool = True
    exhausted: Callable[[], bool] = lambda: False
    measures: Callable[[float], Mapping[str, float]] = _nothing
    agreed: Callable[[bool], bool] = _alone


class TrainingFlow(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """When to log, to evaluate, to save and to stop."""

    def __init__(self, history: History, plan: Plan) -> None:
        self.history, self.plan = history, plan
        self.saved = self.logged = self.began = time.monotonic()
        self.logged_step = self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saved = self.logged = self.began = time.monotonic()
        self.logged_step = self.first_step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        steps_an_epoch = math.ceil(self.plan.rows / self.plan.rows_a_step)
        last = state.global_step >= state.max_steps
        inside = not last
        if self.plan.evaluate_steps is not None:
            control.should_evaluate = last or state.global_step % self.plan.evaluate_steps == 0
            control.should_log = control.should_log or control.should_evaluate
        else:
            inside = inside and state.global_step % steps_an_epoch != 0
        # After the last step of an epoch comes its evaluation, and only then a checkpoint: `on_epoch_end`. Inside an
        # epoch only a logged step is saved, so that the losses after a resumption are averages over the same steps.
        control.should_save = inside and control.should_log and self._save_is_due()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        by_epochs = self.plan.evaluate_steps is None
        # Otherwise the last step of the epoch has said what is due, and it was done.
        control.should_log = control.should_evaluate = by_epochs
        control.should_save = by_epochs and self._save_is_due()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if "loss" in logs:
            self._log_training(state, logs)
        elif self.plan.metric in logs:
            metrics = {name: value for name, value in logs.items() if name.startswith("validation_")}
            self._add(state, metrics)
            self.logged = time.monotonic()  # evaluation is no training time
            if self.plan.exhausted():
                control.should_training_stop = True
        self._tell(state)

    def _log_training(self, state: Any, logs: dict[str, float]) -> None:
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The loss is {logs['loss']} at step {state.global_step} of {state.max_steps}: training diverged.",
                f"lower training.learning_rate, now {self.plan.learning_rate:g}, to a third of it.",
            )
        now = time.monotonic()
        rows = (state.global_step - self.logged_step) * self.plan.rows_a_step
        metrics = {
            "train_loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm", 0.0),
            "samples_per_second": round(rows / max(now - self.logged, 1e-9), 2),
            **self.plan.measures(max(now - self.logged, 1e-9)),
        }
        self._add(state, metrics)
        self.logged, self.logged_step = now, state.global_step

    def _add(self, state: Any, metrics: Mapping[str, float]) -> None:
        if self.plan.writes:
            self.history.add(state.global_step, state.epoch, metrics)

    def _tell(self, state: Any) -> None:
        done = state.global_step - self.first_step
        spent = time.monotonic() - self.began
        left = spent / done * (state.max_steps - state.global_step) if done else math.inf
        self.history.tell(state.global_step, state.max_steps, state.epoch or 0.0, left)

    def _save_is_due(self) -> bool:
        return self.plan.agreed(time.monotonic() - self.saved >= CHECKPOINT_SECONDS)
