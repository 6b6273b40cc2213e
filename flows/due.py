"""`rebert schedule`: every deployment with its next runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from components.settings import Settings
from flows import console
from flows.deployed import FLOW, MONITOR, MONITOR_TAG, TAG, require_server

COMING_RUNS = 3  # of each deployment, in the table of what is due


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
        shown = [
            (row["model"], row["flow"], "paused" if row["paused"] else "", "\n".join(row["next"]) or "none")
            for row in rows
        ]
        console.print_table("", ("model", "flow", "", "next runs"), shown)
    else:
        console.print_text("Nothing is deployed yet: 'rebert deploy FILE'.")


def _due() -> list[dict[str, Any]]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    with get_client(sync_client=True) as client:
        found = [
            (each.name, flow, each)
            for flow, tag in ((FLOW, TAG), (MONITOR, MONITOR_TAG))
            for each in client.read_deployments(
                deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[tag]))
            )
        ]
        return [
            {
                "model": name,
                "flow": flow,
                "paused": each.paused,
                "version": each.version,
                "next": _coming(client, each),
            }
            for name, flow, each in sorted(found, key=lambda each: each[0])
        ]


def deployed_run_files(settings: Settings) -> dict[str, Path]:
    """The run file of each deployed model.

    Raises:
        OrchestrationError: there is no Prefect server.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    require_server(settings)
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    with get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=ours)
    return {each.name: Path(each.parameters["run_file"]) for each in found if "run_file" in each.parameters}


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
