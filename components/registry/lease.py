"""A model's lock that holds across machines, kept where what it protects is kept: in the MLflow that they share.

MLflow has no lock, but a run's parameter can be written once: of two processes that write `turn.8` the database takes
one and refuses the other. So whoever finds turn 7 released or dead takes turn 8. The holder gives signs of life, and
when they stop for `SILENT_SECONDS` the turn may be taken.

Prefect's own limits would not do: a run that is started by hand is in none, and a server that loses its leases, which
are in memory as it comes, has Prefect end the runs that held them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from components.errors import BusyError, RegistryError
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings
from components.signs_of_life import is_dead, sign_of_life, who

log = logging.getLogger("rebert.lease")

EXPERIMENT = "rebert-locks"
ABOUT = "One run a model: whose turn it is to retrain it. Kept by rebert; nothing to compare here."
MODEL = "rebert.lock_of"
TURN = "turn."  # a parameter: who took it
ALIVE = "alive"  # a tag: number of the turn and the holder's last sign of life
RELEASED = "released"  # a tag: number of the last turn that was given back
BEAT_SECONDS = 20.0
SILENT_SECONDS = 75.0
WATCH_SECONDS = 25.0  # for a sign from a holder that looks dead by its clock, which may be wrong


@dataclass(frozen=True, slots=True)
class Turn:
    """The latest turn at a model: 0 before the first; `sign` is the holder's last sign of life."""

    run_id: str
    number: int
    sign: str
    released: bool


@contextmanager
def lease(settings: Settings, name: str) -> Iterator[None]:
    """Hold a model's lock in the MLflow of `settings`.

    Raises:
        BusyError: another process holds it.
        RegistryError: MLflow does not answer.
    """
    number, run_id = _take(settings, name)
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(settings, run_id, number, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        with suppress(RegistryError):  # it is stale soon
            _tag(settings, run_id, RELEASED, str(number))


@mlflow_errors
def _take(settings: Settings, name: str) -> tuple[int, str]:
    """Number of the turn that is ours now, and the run that holds the turns."""
    from mlflow.exceptions import MlflowException

    client = open_store(settings)
    turn = _latest(client, _lock_run(client, name))
    if not _is_free(client, turn):
        raise _busy(name, turn.sign)
    mine = f"{sign_of_life()} {uuid4().hex}"
    try:
        client.log_param(turn.run_id, f"{TURN}{turn.number + 1}", mine, synchronous=True)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise _busy(name, _latest(client, turn.run_id).sign) from error
    return turn.number + 1, turn.run_id


def _busy(name: str, sign: str) -> BusyError:
    return BusyError(
        f"Another run of '{name}' is at work ({who(sign)}).", "wait for it to end, or end it, and run again."
    )


def _is_free(client: Any, turn: Turn) -> bool:
    if turn.number == 0 or turn.released:
        return True
    if not is_dead(turn.sign, timedelta(seconds=SILENT_SECONDS)):
        return not _believable(turn.sign) and _stays_silent(client, turn, SILENT_SECONDS)
    return is_dead(turn.sign, timedelta.max) or _stays_silent(client, turn, WATCH_SECONDS)


def _believable(sign: str) -> bool:
    """Whether a sign's time is not in our future, as one is from a machine whose clock is ahead."""
    last = datetime.fromisoformat(sign.rsplit(" ", 1)[1])
    return last - datetime.now(UTC) < timedelta(seconds=SILENT_SECONDS)


def _stays_silent(client: Any, turn: Turn, seconds: float) -> bool:
    """Whether the holder gives no sign while we watch; by our clock alone, whatever its own says."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, seconds))
        now = _latest(client, turn.run_id)
        if now.released and now.number == turn.number:
            return True
        if (now.number, now.sign) != (turn.number, turn.sign):
            return False
    return True


def _latest(client: Any, run_id: str) -> Turn:
    data = client.get_run(run_id).data
    numbers = [int(name.removeprefix(TURN)) for name in data.params if name.startswith(TURN)]
    number = max(numbers, default=0)
    if not number:
        return Turn(run_id, 0, "", released=True)
    alive, _, sign = data.tags.get(ALIVE, "").partition(" ")
    taken = data.params[f"{TURN}{number}"].rsplit(" ", 1)[0]
    return Turn(run_id, number, sign if alive == str(number) else taken, data.tags.get(RELEASED) == str(number))


def _lock_run(client: Any, name: str) -> str:
    """The run that holds the turns at a model, made the first time; of two that were made at once, the first counts."""
    experiment = _experiment(client)
    found = _find(client, experiment, name)
    if found is None:
        made = client.create_run(experiment, run_name=name, tags={MODEL: name})
        client.set_terminated(made.info.run_id)  # it can be written all the same, and is not shown as at work
        found = _find(client, experiment, name)
    return str(found.info.run_id)


def _find(client: Any, experiment: str, name: str) -> Any:
    runs = client.search_runs([experiment], f"tags.`{MODEL}` = '{name}'")
    # One that has turns is settled; before that all that look take the same.
    return min(runs, key=lambda run: (not run.data.params, run.info.start_time, run.info.run_id), default=None)


def _experiment(client: Any) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        with suppress(MlflowException):  # another machine was faster
            client.create_experiment(EXPERIMENT, tags={"mlflow.note.content": ABOUT})
        found = client.get_experiment_by_name(EXPERIMENT)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _beat(settings: Settings, run_id: str, number: int, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            _tag(settings, run_id, ALIVE, f"{number} {sign_of_life()}")
        except RegistryError as error:
            log.info("no sign of life: %s", error.problem)


@mlflow_errors
def _tag(settings: Settings, run_id: str, name: str, value: str) -> None:
    open_store(settings).set_tag(run_id, name, value)
