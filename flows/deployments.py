"""Deployments: one for each run file, so that a Prefect server and its workers retrain on schedule.

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
from zoneinfo import ZoneInfo

from components.config import RunConfig
from components.digests import digest_file, digest_of
from components.errors import OrchestrationError
from components.run_files import read_run_file
from components.settings import DEFAULTS, HEARTBEATS, OUR_LOG, RETRIED, Settings, environment_of, without_secrets
from flows import console
from flows.running import prepare_prefect

FLOW = "retrain"
TAG = "rebert"
OTHER_TYPES = ("docker", "kubernetes")  # of work pools, by whose names they are called: their workers are elsewhere
OF_RUNS = (HEARTBEATS, OUR_LOG, RETRIED)  # settings that runs have also from workers that we have not started
COMING_RUNS = 3  # of each deployment, in the table of what is due


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of one run file's deployment."""

    model: str
    outcome: Literal["created", "updated", "unchanged"]
    version: str
    schedule: str
    work_pool: str


def deploy_run_files(files: Sequence[Path], settings: Settings, as_json_object: bool) -> None:
    """Create or update the deployment of each run file.

    Raises:
        ProjectError: a run file is wrong, or there is no Prefect server.
    """
    configs = [(path.resolve(), read_run_file(path)) for path in files]
    require_server(settings)
    see_to_dead_runs()
    deployed = [deploy(path, config, settings) for path, config in configs]
    if as_json_object:
        from components.records import as_json

        console.print_json({"deployments": [as_json(each) for each in deployed]})
        return
    rows = [(each.model, each.outcome, each.schedule, each.work_pool) for each in deployed]
    console.print_table("", ("model", "", "schedule", "work pool"), rows)
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


def deploy(path: Path, config: RunConfig, settings: Settings) -> Deployed:
    """Create or update the deployment of one run file, whose absolute path is given."""
    from prefect.client.orchestration import get_client

    wanted = _deployment(path, config, settings)
    with get_client(sync_client=True) as client:
        known = find_deployment(client, config.name)
        if known is not None and known.version == wanted.version:
            return Deployed(config.name, "unchanged", str(wanted.version), in_words(config), config.schedule.work_pool)
        _require_pool(client, config.schedule.work_pool)
        for schedule in known.schedules if known is not None else ():
            client.delete_deployment_schedule(known.id, schedule.id)  # an update alone would keep one that is gone
        wanted.paused = bool(known is not None and known.paused)  # else Prefect would resume it
        wanted.apply()
    outcome: Literal["created", "updated"] = "updated" if known is not None else "created"
    return Deployed(config.name, outcome, str(wanted.version), in_words(config), config.schedule.work_pool)


def _deployment(path: Path, config: RunConfig, settings: Settings) -> Any:
    from prefect.types.entrypoint import EntrypointType

    from flows.retrain import retrain

    # A worker's process begins in a folder of its own; where things are kept must not depend on that.
    environment = {"PREFECT_API_URL": str(settings.prefect_api_url)}
    environment |= {name: DEFAULTS[name] for name in OF_RUNS}
    environment |= environment_of(settings)
    job = {"env": without_secrets(environment), "working_dir": str(config.folder.resolve())}
    told = {"schedule": config.schedule.model_dump(mode="json"), "job": job, "path": str(path)}
    return retrain.to_deployment(
        config.name,
        schedules=_schedules(config),
        triggers=_triggers(config),
        parameters={"run_file": str(path)},
        description=config.description or f"Keeps '{config.name}' fresh.",
        tags=[TAG, config.task_type],
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


def _schedules(config: RunConfig) -> list[Any]:
    from prefect.schedules import Cron, Interval

    schedule = config.schedule
    try:
        if schedule.cron is not None:
            return [Cron(schedule.cron, timezone=schedule.timezone)]
        if schedule.every_hours is not None:
            return [Interval(timedelta(hours=schedule.every_hours), timezone=schedule.timezone)]
    except ValueError as error:
        raise OrchestrationError(f"schedule.cron: {error}", "write five fields, such as '0 3 * * mon'.") from error
    return []


def in_words(config: RunConfig) -> str:
    """When a model is retrained."""
    schedule = config.schedule
    if schedule.cron is not None:
        return f"{schedule.cron} {schedule.timezone}"
    return f"every {schedule.every_hours:g} h" if schedule.every_hours is not None else "when it is triggered"


def find_deployment(client: Any, name: str) -> Any:
    """The deployment of a model, or None."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(f"{FLOW}/{name}")
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


def show_schedule(settings: Settings, as_json_object: bool) -> None:
    """Every deployment with its next runs.

    Raises:
        OrchestrationError: there is no Prefect server.
    """
    require_server(settings)
    rows = _due()
    if as_json_object:
        console.print_json({"deployments": rows})
    elif rows:
        shown = [(row["model"], "paused" if row["paused"] else "", "\n".join(row["next"]) or "none") for row in rows]
        console.print_table("", ("model", "", "next runs"), shown)
    else:
        console.print_text("Nothing is deployed yet: 'rebert deploy FILE'.")


def _due() -> list[dict[str, Any]]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    with get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=ours)
        return [
            {"model": each.name, "paused": each.paused, "version": each.version, "next": _coming(client, each)}
            for each in sorted(found, key=lambda each: each.name)
        ]


def _coming(client: Any, deployment: Any) -> list[str]:
    """The next runs that the server has planned, ISO 8601 on the schedule's own clock."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    runs = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment.id]),
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=COMING_RUNS,
    )
    zones = [schedule.schedule.timezone for schedule in deployment.schedules]
    zone = ZoneInfo(zones[0] if zones else "UTC")
    return [run.expected_start_time.astimezone(zone).isoformat(timespec="minutes") for run in runs]


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
