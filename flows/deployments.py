"""Deployments: one for each run file, so that a Prefect server and its workers retrain on schedule, and one for the
monitor of a run file whose section `monitor` has a schedule.

The version of a deployment is the digest of its run file and of what is told about it: the same again changes nothing.
A model has one run at a time, on all machines (`components/registry/lease.py`); a run that comes meanwhile waits or has
become needless (`flows/turns.py`). Prefect's own limit of a deployment is not used: where its server loses the leases,
which are in its memory as it comes, Prefect ends the runs that held them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from components.config import Monitor, RunConfig, Schedule
from components.digests import digest_file, digest_of
from components.errors import OrchestrationError
from components.run_files import read_run_file
from components.settings import DEFAULTS, HEARTBEATS, OUR_LOG, RETRIED, Settings, environment_of, without_secrets
from flows import console
from flows.running import prepare_prefect

FLOW, MONITOR = "retrain", "monitor"
TAG, MONITOR_TAG = "rebert", "rebert-monitor"
OTHER_TYPES = ("docker", "kubernetes")  # of work pools, by whose names they are called: their workers are elsewhere
OF_RUNS = (HEARTBEATS, OUR_LOG, RETRIED)  # settings that runs have also from workers that we have not started


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of a deployment: of a run file's retraining, or of its monitor."""

    model: str
    outcome: Literal["created", "updated", "unchanged", "removed"]
    version: str
    schedule: str
    work_pool: str
    flow: str = FLOW


def deploy_run_files(files: Sequence[Path], settings: Settings, as_json_object: bool) -> None:
    """Create or update the deployment of each run file.

    Raises:
        ProjectError: a run file is wrong, or there is no Prefect server.
    """
    configs = [(path.resolve(), read_run_file(path)) for path in files]
    require_server(settings)
    see_to_dead_runs()
    deployed = [each for path, config in configs for each in deploy(path, config, settings)]
    if as_json_object:
        from components.records import as_json

        console.print_json({"deployments": [as_json(each) for each in deployed]})
        return
    rows = [(each.model, each.flow, each.outcome, each.schedule, each.work_pool) for each in deployed]
    console.print_table("", ("model", "flow", "", "schedule", "work pool"), rows)
    pools = sorted({each.work_pool for each in deployed})
    console.say(f"A worker carries it out: prefect worker start --pool {' or '.join(pools)}")


def require_server(settings: Settings) -> None:
    """Make sure that a Prefect server answers.

    Raises:
        OrchestrationError: there is none.
    """
    if settings.prefect_api_url is None:
        raise OrchestrationError(
            "There is no Prefect server that could keep a schedule.",
            "start one with 'prefect server start', and set PREFECT_API_URL=http://127.0.0.1:4200/api.",
        )
    prepare_prefect(settings)


def see_to_dead_runs() -> None:
    """Have the Prefect server call a run crashed whose process is gone."""
    from prefect.client.orchestration import get_client

    from flows.zombies import require_automations

    with get_client(sync_client=True) as client:
        require_automations(client)


def deploy(path: Path, config: RunConfig, settings: Settings) -> list[Deployed]:
    """Create or update the deployments of one run file, whose absolute path is given.

    A monitor that has no schedule any more goes.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = [_put(client, FLOW, _retraining(path, config, settings), config, in_words(config))]
        monitor = config.monitor
        if monitor.is_scheduled:
            found.append(_put(client, MONITOR, _monitoring(path, config, settings), config, in_words(config, monitor)))
        elif (known := find_deployment(client, config.name, MONITOR)) is not None:
            client.delete_deployment(known.id)
            found.append(Deployed(config.name, "removed", "", "never", config.schedule.work_pool, MONITOR))
    return found


def _put(client: Any, flow: str, wanted: Any, config: RunConfig, words: str) -> Deployed:
    """Create or update a deployment; the same again changes nothing."""
    known, pool = find_deployment(client, config.name, flow), config.schedule.work_pool
    if known is not None and known.version == wanted.version:
        return Deployed(config.name, "unchanged", str(wanted.version), words, pool, flow)
    _require_pool(client, pool)
    for schedule in known.schedules if known is not None else ():
        client.delete_deployment_schedule(known.id, schedule.id)  # an update alone would keep one that is gone
    wanted.paused = bool(known is not None and known.paused)  # else Prefect would resume it
    wanted.apply()
    outcome: Literal["created", "updated"] = "updated" if known is not None else "created"
    return Deployed(config.name, outcome, str(wanted.version), words, pool, flow)


def _retraining(path: Path, config: RunConfig, settings: Settings) -> Any:
    from flows.retrain import retrain

    words = config.description or f"Keeps '{config.name}' fresh."
    return _deployment(retrain, path, config, settings, config.schedule, _triggers(config), words, TAG)


def _monitoring(path: Path, config: RunConfig, settings: Settings) -> Any:
    from flows.monitor import monitor

    words = f"Watches what '{config.name}' is asked."
    return _deployment(monitor, path, config, settings, config.monitor, [], words, MONITOR_TAG)


def _deployment(
    flow: Any,
    path: Path,
    config: RunConfig,
    settings: Settings,
    rhythm: Schedule | Monitor,
    triggers: list[Any],
    words: str,
    tag: str,
) -> Any:
    from prefect.types.entrypoint import EntrypointType

    # A worker's process begins in a folder of its own; where things are kept must not depend on that.
    environment = {"PREFECT_API_URL": str(settings.prefect_api_url)}
    environment |= {name: DEFAULTS[name] for name in OF_RUNS}
    environment |= environment_of(settings)
    job = {"env": without_secrets(environment), "working_dir": str(config.folder.resolve())}
    told = {"schedule": rhythm.model_dump(mode="json"), "job": job, "path": str(path)}
    return flow.to_deployment(
        config.name,
        schedules=_schedules(config, rhythm),
        triggers=triggers,
        parameters={"run_file": str(path)},
        description=words,
        tags=[tag, config.task_type],
        version=digest_of([digest_file(path), told])[:12],
        work_pool_name=config.schedule.work_pool,
        job_variables=job,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _triggers(config: RunConfig) -> list[Any]:
    """An automation for each event; its limits are looked at when the run begins, where Prefect would drop events."""
    from prefect.events import DeploymentEventTrigger

    return [
        DeploymentEventTrigger(
            name=f"{config.name} on {event}", expect={event}, parameters={"cause": f"the event {event}"}
        )
        for event in config.triggers.events
    ]


def _schedules(config: RunConfig, rhythm: Schedule | Monitor) -> list[Any]:
    from prefect.schedules import Cron, Interval

    section = "monitor" if isinstance(rhythm, Monitor) else "schedule"
    try:
        if rhythm.cron is not None:
            return [Cron(rhythm.cron, timezone=config.schedule.timezone)]
        if rhythm.every_hours is not None:
            return [Interval(timedelta(hours=rhythm.every_hours), timezone=config.schedule.timezone)]
    except ValueError as error:
        raise OrchestrationError(f"{section}.cron: {error}", "write five fields, such as '0 3 * * mon'.") from error
    return []


def in_words(config: RunConfig, rhythm: Schedule | Monitor | None = None) -> str:
    """When a model is retrained, or watched."""
    rhythm = rhythm or config.schedule
    if rhythm.cron is not None:
        return f"{rhythm.cron} {config.schedule.timezone}"
    return f"every {rhythm.every_hours:g} h" if rhythm.every_hours is not None else "when it is triggered"


def find_deployment(client: Any, name: str, flow: str = FLOW) -> Any:
    """The deployment of a model, or of its monitor; None where there is none."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        return None


def _require_pool(client: Any, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        if name in OTHER_TYPES:
            raise OrchestrationError(
                f"There is no work pool '{name}'.", f"make it: prefect work-pool create {name} --type {name}"
            ) from None
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def is_of_processes(name: str) -> bool:
    """Whether a work pool's runs are processes, so that a worker here can carry them out; also where there is none."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return bool(client.read_work_pool(name).type == "process")
        except ObjectNotFound:
            return True


def pause_model(name: str, settings: Settings, paused: bool) -> None:
    """Stop or resume the scheduled runs of a model.

    Raises:
        OrchestrationError: it is not deployed, or there is no Prefect server.
    """
    require_server(settings)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = require_deployment(client, name)
        (client.pause_deployment if paused else client.resume_deployment)(deployment.id)
    console.print_text(f"'{name}' is {'paused' if paused else 'scheduled again'}.")


def trigger_model(name: str, settings: Settings) -> None:
    """Have a worker run a model now.

    Raises:
        OrchestrationError: it is not deployed, or there is no Prefect server.
    """
    require_server(settings)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(require_deployment(client, name).id, tags=["triggered"])
    console.print_text(f"Run {run.name} of '{name}' waits for a worker.")


def require_deployment(client: Any, name: str) -> Any:
    """The deployment of a model.

    Raises:
        OrchestrationError: there is none.
    """
    found = find_deployment(client, name)
    if found is None:
        raise OrchestrationError(f"'{name}' is not deployed.", "deploy its run file first: 'rebert deploy FILE'.")
    return found
