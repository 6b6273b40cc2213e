"""MLflow runs: one for each trained model, found again by the digest of what it was trained from.

A run is open while a process of ours is at work on it and at no other time: `running` closes it on every way out, and
`close_stale_runs` closes those whose process was killed.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Literal

from components.config import RunConfig
from components.digests import SOURCE_ROOT
from components.errors import RegistryError
from components.registry.ledger import who_is_it
from components.registry.store import is_server, mlflow_errors, open_store
from components.registry.versions import registry_lock
from components.settings import Settings, without_passwords
from components.signs_of_life import is_dead, sign_of_life

log = logging.getLogger("rebert.tracking")

TRAIN_DIGEST = "rebert.train_digest"
ALIVE = "rebert.alive"  # while a process is at the run: its host, number and start, and its last sign of life
FLOW_RUN = "rebert.flow_run"
HEARTBEAT_SECONDS = 30
SILENT_AFTER = timedelta(seconds=2.5 * HEARTBEAT_SECONDS)
Status = Literal["FINISHED", "FAILED", "KILLED"]


@mlflow_errors
def start_run(
    settings: Settings,
    config: RunConfig,
    train_digest: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """The id of the run of a training, made now or opened again; runs of dead processes are closed on the way.

    Args:
        train_digest: what names the training: the digest of the step that trains.
        params: as from `run_params`; a value that the run has stays.
        tags: by short names such as data_digest, code_digest, base_model_digest, flow_run.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client = open_store(settings)
    with registry_lock(settings, config.name):
        experiment = _experiment(client, settings, config)
        _close_stale(client, experiment)
        query = f"tags.`{TRAIN_DIGEST}` = '{train_digest}'"
        run = _oldest(client, experiment, query) or _create(client, experiment, query, train_digest)
    run_id = str(run.info.run_id)
    new = {name: str(value) for name, value in (params or {}).items() if name not in run.data.params}
    named = {f"rebert.{name}": value for name, value in (tags or {}).items()}
    client.update_run(run_id, status="RUNNING")
    client.log_batch(run_id, params=_entities("Param", new), tags=_entities("RunTag", {**named, ALIVE: sign_of_life()}))
    return run_id


@contextmanager
def running(settings: Settings, run_id: str) -> Iterator[None]:
    """Keep a run's heartbeat going, and close it on every way out: finished, failed or killed.

    An MLflow that is away by then changes nothing about what the work came to; the next run closes this one.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(settings, run_id, stop), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        _finish_quietly(settings, run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    else:
        _finish_quietly(settings, run_id, "FINISHED")
    finally:
        stop.set()


@mlflow_errors
def finish_run(settings: Settings, run_id: str, status: Status = "FINISHED") -> None:
    """Close a run."""
    client = open_store(settings)
    client.set_terminated(run_id, status)
    if ALIVE in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, ALIVE)


@mlflow_errors
def run_page(settings: Settings, run_id: str) -> str | None:
    """The address of a run's page on an MLflow server; an embedded MLflow has none."""
    if not is_server(settings.tracking_uri):
        return None
    experiment = open_store(settings).get_run(run_id).info.experiment_id
    return f"{without_passwords(settings.tracking_uri).rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that a process of ours is at, or was when it died; `flow_run` is empty where Prefect does not know it.

    `silent` is one that missed two signs of life, which alone does not make it dead: MLflow may have been away.
    """

    run_id: str
    dead: bool
    flow_run: str
    silent: bool = False


@mlflow_errors
def open_runs(settings: Settings) -> list[OpenRun]:
    """The open runs of all models."""
    client = open_store(settings)
    return _open_runs(client, [experiment.experiment_id for experiment in client.search_experiments()])


@mlflow_errors
def close_run(settings: Settings, run_id: str) -> None:
    """Close a run whose process is dead, as killed."""
    _close(open_store(settings), run_id)


@mlflow_errors
def close_stale_runs(settings: Settings, name: str) -> list[str]:
    """Close the runs of a model whose process is dead, as killed; returns their ids."""
    client = open_store(settings)
    experiment = client.get_experiment_by_name(name)
    return _close_stale(client, experiment.experiment_id) if experiment else []


def _experiment(client: Any, settings: Settings, config: RunConfig) -> str:
    """The id of the model's experiment; its artifacts lie at an absolute place, whatever folder a run starts in."""
    from mlflow.exceptions import MlflowException

    place = None if is_server(settings.tracking_uri) else (settings.artifacts / config.name).as_uri()
    found = client.get_experiment_by_name(config.name)
    if found is None:
        try:
            return str(client.create_experiment(config.name, place, _experiment_tags(config)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another machine was faster
                raise
        found = client.get_experiment_by_name(config.name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _experiment_tags(config: RunConfig) -> dict[str, str]:
    kind = {"mlflow.experimentKind": "custom_model_development"}  # so that its pages do not ask what it is
    return {**kind, "mlflow.note.content": config.description} if config.description else kind


def _oldest(client: Any, experiment: str, query: str) -> Any:
    found = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"], max_results=1)
    return found[0] if found else None


def _create(client: Any, experiment: str, query: str, train_digest: str) -> Any:
    """A new run, unless another machine was faster: then its own, and ours goes."""
    name = f"{datetime.now():%Y-%m-%d %H:%M} {train_digest[:5]}"  # what fits into a column of the list
    tags = {TRAIN_DIGEST: train_digest, **_origin_tags()}
    created = client.create_run(experiment, run_name=name, tags=tags)
    oldest = _oldest(client, experiment, query) or created
    if oldest.info.run_id != created.info.run_id:
        client.delete_run(created.info.run_id)
    return oldest


def _origin_tags() -> dict[str, str]:
    tags = {
        "mlflow.user": who_is_it().partition("@")[0],
        "mlflow.source.name": f"rebert {version('rebert')}",
        "mlflow.source.type": "LOCAL",
    }
    commit = _git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def _git_commit() -> str:
    """The commit of this project's checkout; empty where it is installed without one."""
    if not (SOURCE_ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(SOURCE_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _beat(settings: Settings, run_id: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            _set_tag(settings, run_id, ALIVE, sign_of_life())
        except RegistryError as error:
            log.info("no heartbeat: %s", error.problem)


@mlflow_errors
def _set_tag(settings: Settings, run_id: str, name: str, value: str) -> None:
    open_store(settings).set_tag(run_id, name, value)


def _finish_quietly(settings: Settings, run_id: str, status: Status) -> None:
    """Close a run after work whose result, good or bad, must not be hidden by an MLflow that is away."""
    try:
        finish_run(settings, run_id, status)
    except RegistryError as error:
        log.warning("The run %s stays open until the next one begins: %s", run_id, error.problem)


def _close_stale(client: Any, experiment: str) -> list[str]:
    stale = [run.run_id for run in _open_runs(client, [experiment]) if run.dead]
    for run_id in stale:
        _close(client, run_id)
    return stale


def _open_runs(client: Any, experiments: Sequence[str]) -> list[OpenRun]:
    found = client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
    ours = [(run.info.run_id, run.data.tags) for run in found if ALIVE in run.data.tags]
    return [
        OpenRun(str(run_id), is_dead(tags[ALIVE]), tags.get(FLOW_RUN, ""), is_dead(tags[ALIVE], SILENT_AFTER))
        for run_id, tags in ours
    ]


def _close(client: Any, run_id: str) -> None:
    client.set_tag(run_id, "rebert.closed", "its process was gone")
    client.set_terminated(run_id, "KILLED")
    client.delete_tag(run_id, ALIVE)


def _entities(kind: Literal["Param", "RunTag"], values: Mapping[str, str]) -> list[Any]:
    import mlflow.entities

    return [getattr(mlflow.entities, kind)(name, value) for name, value in values.items()]
