"""Crashes of which Prefect alone knows: runs that no process took up, and those of machines that are gone.

Whoever ran a run tells of its crash where that is possible (`flows/notifying.py`), and tags it in Prefect. What is
crashed for some minutes and has no such tag is told here, by `rebert up` or `rebert watch`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.errors import ProjectError
from components.notices import Begun, begun_now
from components.run_files import read_run_file
from components.settings import Settings
from flows.deployed import FLOW
from flows.notifying import tell_crash
from flows.zombies import TOLD

log = logging.getLogger("rebert.flows")

SETTLED = timedelta(minutes=2)  # whoever was there has told of it by then
NEWS = timedelta(days=1)
LOOKED_AT = 50  # crashes, the latest


def tell_of_crashes(settings: Settings) -> int:
    """Tell of each crash that nobody has told of; returns how many notices were sent."""
    if settings.prefect_api_url is None:
        return 0
    try:
        untold = list(_untold())
    except Exception as error:  # a library's own errors are many, and none may end the watch
        log.info("Prefect was not asked for crashes: %s", error)
        return 0
    return sum(tell_crash(settings, name, died, failing=False) for name, died in untold)


def _untold() -> Iterator[tuple[str, Begun]]:
    from prefect.client.orchestration import get_client

    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        for run in _crashed(client):
            crashed = run.state.timestamp
            if TOLD not in run.tags and now - NEWS < crashed < now - SETTLED and "run_file" in run.parameters:
                yield _facts(run)


def _crashed(client: Any) -> list[Any]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    found: list[Any] = client.read_flow_runs(
        flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[FLOW])),
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.CRASHED]))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=LOOKED_AT,
    )
    return found


def _facts(run: Any) -> tuple[str, Begun]:
    """The model of a run, and who is told; the default address where its run file cannot be read here."""
    path = Path(run.parameters["run_file"])
    config = _config(path)
    if config is None:
        return f"file-{path.stem}", begun_now(str(run.id), str(path), None, ("crashed",))
    return config.name, begun_now(str(run.id), str(path), config.notify.to, config.notify.of)


def _config(path: Path) -> RunConfig | None:
    try:
        return read_run_file(path)
    except ProjectError:
        return None
