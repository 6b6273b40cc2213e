"""Runs whose process died: Prefect calls them crashed, MLflow's run is closed, and the next run goes on.

A flow that is at work sends Prefect a heartbeat every 30 s; by itself Prefect does nothing when they stop. The
automation made here does: after 75 s without one, two and a half of them, the run is crashed. Then whatever it left
open in MLflow is closed as killed, where it gave no sign of life there either. Its lock is free at once on its own
machine, and after as long on others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from components.errors import ProjectError
from components.settings import Settings

log = logging.getLogger("rebert.zombies")

SILENT_SECONDS = 75
FLOWS = ("adapt", "monitor", "pretrain", "retrain")  # ours; a shared server has runs of others
STARTING_SECONDS = 900  # for a worker or a cluster to get a process going, an image fetched included
TOLD = "crash-told"  # a tag of runs
SILENT = "rebert: a run without a sign of life is crashed"
NOT_STARTED = "rebert: a run that never started is crashed"


def require_automations(client: Any) -> list[str]:
    """Make or correct the automations on a Prefect server; returns the names of those that were not as they should be.

    Args:
        client: a synchronous Prefect client.
    """
    changed = []
    for wanted in (
        _automation(
            SILENT,
            {"prefect.flow-run.heartbeat", "prefect.flow-run.Running"},
            SILENT_SECONDS,
            f"Its process gave no sign of life for {SILENT_SECONDS} s.",
        ),
        _automation(
            NOT_STARTED,
            {"prefect.flow-run.Pending"},
            STARTING_SECONDS,
            f"No process took it up within {STARTING_SECONDS} s.",
        ),
    ):
        found = client.read_automations_by_name(wanted.name)
        if found and content_of(found[0]) == content_of(wanted):
            continue
        for other in found:
            client.delete_automation(other.id)
        client.create_automation(wanted)
        changed.append(wanted.name)
    return changed


def _automation(name: str, after: set[str], seconds: int, message: str) -> Any:
    """Whatever else happens to the run counts as a sign of life: a run ends in states with names of our own."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            after=after,
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(FLOWS)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def content_of(automation: Any) -> Any:
    """What an automation does, and for whom, without what the server adds to it."""
    content = automation.model_dump(mode="json", include={"name", "enabled", "trigger", "actions"})
    trigger = content["trigger"]
    sets = {part: sorted(trigger[part]) for part in ("after", "expect", "for_each")}
    labels = {part: _in_order(trigger[part]) for part in ("match", "match_related")}
    return {**content, "trigger": {**trigger, "id": None, **sets, **labels}}


def _in_order(specification: Any) -> Any:
    """The labels of resources as lists in order: a server may say one value, or one specification, without its list."""
    if isinstance(specification, list):
        return [_in_order(each) for each in specification]
    return {label: sorted([found] if isinstance(found, str) else found) for label, found in specification.items()}


def close_dead_runs(settings: Settings) -> list[str]:
    """Close the MLflow runs that dead processes left open; returns their ids. What is away is asked the next time."""
    from components.tracking import close_run, open_runs

    closed = []
    try:
        found = open_runs(settings)
        over = _over(settings, {run.flow_run for run in found if run.flow_run})
        for run in found:
            # Prefect calls live runs crashed too, where its server was away for longer than the automation's patience.
            if run.dead or (run.flow_run in over and run.silent):
                close_run(settings, run.run_id)
                closed.append(run.run_id)
        crash_in_prefect(settings, {run.flow_run for run in found if run.dead and run.flow_run} - over)
    except ProjectError as error:
        log.info("Open runs were not looked at: %s", error.problem)
    return closed


def crash_in_prefect(settings: Settings, flow_runs: Iterable[str]) -> None:
    """Have Prefect know that these runs' processes are dead, where it takes them to be at work.

    The automation does not see what died while the server was down for longer than its patience.
    """
    ids = [run for run in flow_runs if "-" in run]  # one without a flow has a name of its own
    if not ids or settings.prefect_api_url is None:
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Crashed

    try:
        with get_client(sync_client=True) as client:
            known = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
            for run in known:
                if run.state and run.state.is_running():
                    client.set_flow_run_state(run.id, Crashed(message="Its process died."))
    except Exception as error:  # a library's own errors are many, and none may end the watch
        log.info("Prefect was not told: %s", error)


def mark_told(settings: Settings, flow_run: str) -> None:
    """Have Prefect know that somebody was told of a run's crash, for machines that share no home."""
    if "-" not in flow_run or settings.prefect_api_url is None:
        return
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            known = client.read_flow_run(UUID(flow_run))
            if TOLD not in known.tags:
                client.update_flow_run(known.id, tags=[*known.tags, TOLD])
    except Exception as error:  # a library's own errors are many; the notice itself was sent
        log.info("Prefect was not told: %s", error)


def _over(settings: Settings, flow_runs: Iterable[str]) -> set[str]:
    """Those flow runs that Prefect knows to have crashed or been cancelled."""
    ids = list(flow_runs)
    if not ids or settings.prefect_api_url is None:
        return set()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    try:
        with get_client(sync_client=True) as client:
            known = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
    except Exception as error:  # a library's own errors are many, and none may end the watch
        log.info("Prefect was not asked: %s", error)
        return set()
    return {str(run.id) for run in known if run.state and (run.state.is_crashed() or run.state.is_cancelled())}
