"""Triggers: runs that something else than the clock or a person asks for, and the limits that keep them from storming.

New data, an event and the monitor's verdict all end in `ask_for_run`. The server's own list of runs says what has been
and what waits, so that the limits hold for all machines; a trigger that comes too early waits, and many that wait are
one run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from components.config import RunConfig, Triggers
from components.run_files import read_run_file
from components.settings import Settings
from components.triggering import PastRun, Wait, wait_for
from flows import console
from flows.deployed import require_deployment, require_server, require_unpaused

log = logging.getLogger("rebert.flows")

CAUSE = "cause"  # the flow parameter that says what asked for a run; a schedule and a person leave it out
DEFERRED = "Deferred"  # name of the state of a run that was asked for too early
SERVED = "Served"  # and of one whose cause another run has dealt with
WITHHELD = "Withheld"  # and of one whose model somebody has paused
NO_RUNS = (DEFERRED, SERVED, WITHHELD, "Superseded")  # the last is what `turns.py` says of one that came to nothing
NOT_YET = ("SCHEDULED", "PENDING")  # also one that has begun, and waits for its turn or for MLflow
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LOOKED_AT = 200  # newest runs of a deployment that have begun, and as many others; more than any limit of a day


def trigger_by(name: str, settings: Settings, cause: str) -> None:
    """`rebert trigger NAME --cause …`: ask for a run and say when it comes.

    Raises:
        OrchestrationError: the model is not deployed, its runs are paused, or there is no Prefect server.
    """
    wait = trigger_run(name, settings, cause)
    when = f"waits until {in_words(wait)}" if wait else "waits for a worker"
    console.print_text(f"The run of '{name}' because of {cause} {when}.")


def trigger_run(name: str, settings: Settings, cause: str) -> Wait | None:
    """Have a worker run a model because of something, now or as soon as the limits in its run file allow.

    Args:
        cause: in a few words, for people: "the monitor: accuracy fell to 0.81".

    Returns:
        Until when the run waits, and why; None where it begins now.

    Raises:
        OrchestrationError: the model is not deployed, its runs are paused, or there is no Prefect server.
        ConfigError: its run file cannot be read here.
    """
    require_server(settings)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = require_deployment(client, name)
        require_unpaused(deployment)
        config = read_run_file(Path(deployment.parameters["run_file"]))
        return ask_for_run(client, deployment, config.triggers, cause)


def ask_for_run(client: Any, deployment: Any, limits: Triggers, cause: str, own: str = "") -> Wait | None:
    """A run of a deployment because of something; what waits for the same is the same run.

    Args:
        own: id of the run that asks, which does not count.

    Returns:
        Until when it waits, and why; None where it begins now.
    """
    from prefect.states import Scheduled

    everything = _runs(client, deployment.id)
    runs = [run for run in everything if str(run.id) != own]
    wait = wait_for(limits, _past(runs), datetime.now(UTC))
    begun = next((str(run.id) for run in runs if _has_begun(run)), "nothing")
    after = f"{deployment.id} after {begun}, "
    # Such a run that has come to its end, or asks itself, waits for nothing any more: Prefect would give it back.
    over = sum(
        str(run.id) == own or run.state_type in FINAL
        for run in everything
        if (run.idempotency_key or "").startswith(after)
    )
    client.create_flow_run_from_deployment(
        deployment.id,
        parameters={CAUSE: cause},
        state=Scheduled(scheduled_time=wait.until) if wait else None,
        tags=["triggered"],
        # Prefect gives back the run that has this key: all that comes after one run and before the next is one run.
        idempotency_key=f"{after}{over} over",
    )
    return wait


def admit(config: RunConfig, run_id: str, deployment_id: str) -> tuple[str, str] | None:
    """Why a triggered run does not begin: the name of its state and a sentence; None where it may begin.

    One whose model is paused is not wanted. One that comes too early is asked for again, for later. One that was asked
    for before another run began has nothing to do: that run saw what it was for.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment, asked = client.read_deployment(UUID(deployment_id)), client.read_flow_run(UUID(run_id))
        if deployment.paused:
            name = deployment.name
            return WITHHELD, f"The runs of '{name}' are paused; 'rebert schedule --resume {name}' lets it run again."
        runs = [run for run in _runs(client, UUID(deployment_id)) if str(run.id) != run_id]
        # A run on the data of an earlier day did not see what this one was asked for.
        newest = (run for run in runs if not run.parameters.get("as_of"))
        done = (run for run in newest if _has_begun(run) and run.state_type == "COMPLETED")
        later = next((run for run in done if run.start_time > asked.created), None)
        if later is not None:
            return SERVED, f"Run {later.name} began after this one was asked for."
        wait = wait_for(config.triggers, _past(runs), datetime.now(UTC))
        if wait is None:
            return None
        ask_for_run(client, deployment, config.triggers, asked.parameters[CAUSE], run_id)
    return DEFERRED, f"Not before {in_words(wait)}."


def state_since(name: str, settings: Settings, time: str) -> str:
    """Name of the state of the newest run of a model that began after a time (ISO 8601); empty where none did.

    Raises:
        OrchestrationError: the model is not deployed, or there is no Prefect server.
    """
    require_server(settings)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = [run for run in _runs(client, require_deployment(client, name).id) if _has_begun(run)]
    later = [run for run in runs if run.start_time > datetime.fromisoformat(time)]
    return str(max(later, key=lambda run: run.start_time).state_name) if later else ""


def in_words(wait: Wait) -> str:
    """Until when, and why."""
    return f"{wait.until:%Y-%m-%d %H:%M} UTC: {wait.why}"


def _runs(client: Any, deployment_id: UUID) -> list[Any]:
    """The newest runs of a deployment, the newest first: those that did something, and after them the others.

    They are asked for apart: a storm of triggers, or a long schedule, would hide the few that count for the limits.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    of_it = filters.FlowRunFilterDeploymentId(any_=[deployment_id])
    begun = {
        "start_time": filters.FlowRunFilterStartTime(is_null_=False),
        "state": filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(not_any_=list(NO_RUNS))),
    }
    found = [
        run
        for more, order in ((begun, FlowRunSort.START_TIME_DESC), ({}, FlowRunSort.EXPECTED_START_TIME_DESC))
        for run in client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(deployment_id=of_it, **more), sort=order, limit=LOOKED_AT
        )
    ]
    return list({run.id: run for run in found}.values())


def _has_begun(run: Any) -> bool:
    """Whether a run has done something, or does."""
    return run.start_time is not None and run.state_type not in NOT_YET and run.state_name not in NO_RUNS


def _past(runs: Sequence[Any]) -> list[PastRun]:
    return [PastRun(run.start_time, run.end_time, bool(run.parameters.get(CAUSE))) for run in runs if _has_begun(run)]
