"""Deployments: one for each run file, so that a Prefect server and its workers retrain on schedule, and one for the
monitor of a run file whose section `monitor` has a schedule.

The version of a deployment is the digest of its run file and of what is told about it: the same again changes nothing,
unless somebody has taken away or changed what belongs to it.
A model has one run at a time, on all machines (`components/registry/lease.py`); a run that comes meanwhile waits or has
become needless (`flows/turns.py`). Prefect's own limit of a deployment is not used: where its server loses the leases,
which are in its memory as it comes, Prefect ends the runs that held them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from components.config import Monitor, RunConfig, Schedule
from components.digests import canonical, digest_file, digest_of
from components.errors import OrchestrationError
from components.run_files import read_run_file
from components.settings import DEFAULTS, HEARTBEATS, OUR_LOG, RETRIED, Settings, environment_of, without_secrets
from flows import console
from flows.deployed import FLOW, MONITOR, MONITOR_TAG, TAG, find_deployment, remove_deployment, require_server
from flows.receivers import unset_address
from flows.zombies import content_of

log = logging.getLogger("rebert.flows")

# Types of work pools, by whose names they are called, with their templates: their workers are elsewhere.
OTHER_TYPES = {"docker": "docker/work-pool-docker.json", "kubernetes": "docker/kubernetes/work-pool.json"}
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
    warn_of_addresses(config for _, config in configs)
    deployed = [each for path, config in configs for each in deploy(path, config, settings)]
    if as_json_object:
        from components.records import as_json

        console.print_json({"deployments": [as_json(each) for each in deployed]})
        return
    rows = [(each.model, each.flow, each.outcome, each.schedule, each.work_pool) for each in deployed]
    console.print_table("", ("model", "flow", "", "schedule", "work pool"), rows)
    pools = sorted({each.work_pool for each in deployed})
    console.say(f"A worker carries it out: prefect worker start --pool {' or '.join(pools)}")


def warn_of_addresses(configs: Iterable[RunConfig]) -> None:
    """Say of whom nobody has the address here: the worker needs it, which may have another environment."""
    for config in configs:
        if name := unset_address(os.environ, config.notify.to):
            log.warning(
                "%s: notify.to needs %s or %s_FILE where its worker runs; here it is not set.", config.name, name, name
            )


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
            remove_deployment(client, known)
            found.append(Deployed(config.name, "removed", "", "never", config.schedule.work_pool, MONITOR))
    return found


def _put(client: Any, flow: str, wanted: Any, config: RunConfig, words: str) -> Deployed:
    """Create or update a deployment; the same again changes nothing."""
    known, pool = find_deployment(client, config.name, flow), config.schedule.work_pool
    if known is not None and _is_as_wanted(client, known, wanted):
        return Deployed(config.name, "unchanged", str(wanted.version), words, pool, flow)
    _require_pool(client, pool)
    for schedule in known.schedules if known is not None else ():
        client.delete_deployment_schedule(known.id, schedule.id)  # an update alone would keep one that is gone
    wanted.paused = bool(known is not None and known.paused)  # else Prefect would resume it
    wanted.apply()
    outcome: Literal["created", "updated"] = "updated" if known is not None else "created"
    return Deployed(config.name, outcome, str(wanted.version), words, pool, flow)


def _is_as_wanted(client: Any, known: Any, wanted: Any) -> bool:
    """Whether a server has a deployment with all that belongs to it; people and a kill may have left it without."""
    same = (known.version, known.work_pool_name, known.parameters, known.job_variables) == (
        wanted.version,
        wanted.work_pool_name,
        wanted.parameters,
        wanted.job_variables,
    )
    if not same or _rhythms(known) != _rhythms(wanted):
        return False
    for trigger in wanted.triggers:
        trigger.set_deployment_id(known.id)
    # Whose they are is not told; people may have made others that run this deployment.
    there = [content_of(each) for each in client.read_resource_related_automations(f"prefect.deployment.{known.id}")]
    return all(content_of(trigger.as_automation()) in there for trigger in wanted.triggers)


def _rhythms(deployment: Any) -> list[Any]:
    """When a deployment is due; an interval's first moment is that of its making, and says nothing."""
    told = ({"active": each.active, **each.schedule.model_dump(mode="json")} for each in deployment.schedules)
    return sorted(({name: each[name] for name in each.keys() - {"anchor_date"}} for each in told), key=canonical)


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


def _require_pool(client: Any, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        if name in OTHER_TYPES:
            raise OrchestrationError(
                f"There is no work pool '{name}'.",
                f"make it: prefect work-pool create {name} --type {name} --base-job-template {OTHER_TYPES[name]}",
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
