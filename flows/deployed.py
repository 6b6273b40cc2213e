"""Deployments that a Prefect server has: found, paused, run and removed by the name of their model."""

from __future__ import annotations

from typing import Any

from components.errors import OrchestrationError
from components.settings import Settings
from flows import console
from flows.running import prepare_prefect

FLOW, MONITOR = "retrain", "monitor"
TAG, MONITOR_TAG = "rebert", "rebert-monitor"


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


def find_deployment(client: Any, name: str, flow: str = FLOW) -> Any:
    """The deployment of a model, or of its monitor; None where there is none."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(f"{flow}/{name}")
    except ObjectNotFound:
        return None


def require_deployment(client: Any, name: str) -> Any:
    """The deployment of a model.

    Raises:
        OrchestrationError: there is none.
    """
    found = find_deployment(client, name)
    if found is None:
        raise OrchestrationError(f"'{name}' is not deployed.", "deploy its run file first: 'rebert deploy FILE'.")
    return found


def require_unpaused(deployment: Any) -> None:
    """Make sure that a deployment's runs are wanted, where something else than a person asks for one.

    Raises:
        OrchestrationError: somebody has paused it.
    """
    if deployment.paused:
        name = deployment.name
        raise OrchestrationError(f"The runs of '{name}' are paused.", f"resume them: rebert schedule --resume {name}")


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


def remove_model(name: str, settings: Settings) -> None:
    """Take a model's deployment, that of its monitor and their automations from the server; all else of it stays.

    Raises:
        OrchestrationError: it is not deployed, or there is no Prefect server.
    """
    require_server(settings)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = [each for flow in (FLOW, MONITOR) if (each := find_deployment(client, name, flow)) is not None]
        if not found:
            raise OrchestrationError(f"'{name}' is not deployed.", "'rebert schedule' lists what is.")
        for each in found:
            remove_deployment(client, each)
    console.print_text(f"'{name}' is deployed no more; what is live stays live.")


def remove_deployment(client: Any, deployment: Any) -> None:
    """Take a deployment with its planned runs and its automations from the server."""
    client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
    client.delete_deployment(deployment.id)
