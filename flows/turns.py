"""Runs of a deployment that meet another run of the same model: they wait for their turn, or have become needless.

A run that finds its model busy gives its process back and is due again a minute later, so that nothing that was
triggered during a run is lost; so does a run that finds MLflow away, some times. A run that was due before another one
of the deployment began has been made up for by that one, which saw the same data or newer: so the runs that a downtime
missed collapse into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import Pause
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Scheduled

from components.errors import BusyError, RegistryAway
from flows.triggers import CAUSE, NO_RUNS

WAIT_SECONDS = 60
TRIES = 10  # while MLflow is away; then the run fails, and people are told
AWAITING_MLFLOW = "AwaitingMLflow"
SUPERSEDED = "Superseded"


def wait(error: BusyError | RegistryAway) -> NoReturn:
    """End the process of a run whose model is busy, or whose MLflow is away: the run is due again in a minute.

    A state that is not final cannot be returned from a flow, so it is set first and the process left as at a pause.

    Raises:
        Pause: the run waits.
        BusyError: nobody would start it again, because it belongs to no deployment.
        RegistryAway: the same, or it has waited often enough.
    """
    if deployment.id is None:
        raise error
    later = datetime.now(UTC) + timedelta(seconds=WAIT_SECONDS)
    name = AWAITING_MLFLOW if isinstance(error, RegistryAway) else "AwaitingTurn"
    state: State[Any] = Scheduled(scheduled_time=later, name=name, message=error.problem)
    run = UUID(str(flow_run.id))
    with get_client(sync_client=True) as client:
        before = client.read_flow_run_states(run) if name == AWAITING_MLFLOW else []
        if sum(each.name == AWAITING_MLFLOW for each in before) >= TRIES:
            raise error
        client.set_flow_run_state(run, state)
    raise Pause(error.problem, state=state) from error


def superseded() -> Any:
    """The state of a run whose work another one has done; None where it has something to do."""
    if deployment.id is None:
        return None
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment.id]),
                state=filters.FlowRunFilterState(
                    type=filters.FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED])
                ),
                start_time=filters.FlowRunFilterStartTime(after_=flow_run.scheduled_start_time),
            )
        )
    for other in found:
        did_something = str(other.id) != str(flow_run.id) and other.state_name not in NO_RUNS
        if did_something and _asked(other.parameters) == _asked(flow_run.parameters):
            return Cancelled(name=SUPERSEDED, message=f"Run {other.name}, begun since this one was due, did its work.")
    return None


def _asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a run shall do, whatever caused it; what a schedule leaves out and what a form leaves empty is the same."""
    return {name: str(value) for name, value in parameters.items() if name != CAUSE and value is not None}
