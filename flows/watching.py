"""`rebert watch`: new data that has landed, and is complete, has its model run.

What the last run was asked for is remembered by content, so that no delivery is missed while nobody watches and none is
asked for twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from components.config import RunConfig
from components.data.arrivals import Calm, look_for
from components.digests import canonical, digest_of
from components.errors import ProjectError
from components.run_files import read_run_file
from components.settings import Settings
from components.step_store import storage_errors, write_whole
from flows import console
from flows.crashes import tell_of_crashes
from flows.deployed import TAG, require_server
from flows.notifying import sweep
from flows.triggers import ask_for_run, in_words
from flows.zombies import close_dead_runs

log = logging.getLogger("rebert.flows")


def watch_data(settings: Settings, every: float, once: bool) -> None:
    """Look for new data of all deployed models again and again.

    Args:
        every: seconds from look to look.
        once: end as soon as nothing is still arriving.

    Raises:
        OrchestrationError: there is no Prefect server when it begins.
    """
    require_server(settings)
    watcher = Watcher(settings)
    while True:
        arriving = watcher.look()
        see_to_the_dead(settings)
        if once and not arriving:
            return
        time.sleep(every)


def see_to_the_dead(settings: Settings) -> list[str]:
    """Close what dead runs left open in MLflow and tell who wants to know; returns the MLflow runs closed."""
    closed = close_dead_runs(settings)
    sweep(settings)
    tell_of_crashes(settings)
    return closed


@dataclass
class Watcher:
    """Looks at the places of all deployed models; what goes wrong with one is logged once and stops no other."""

    settings: Settings
    calm: dict[str, Calm] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)

    def look(self) -> bool:
        """Look once; whether something is still arriving somewhere."""
        try:
            deployments = self._deployments()
        except ProjectError as error:
            self._trouble("", error)
            return False
        except httpx.HTTPError as error:  # a server that went away meanwhile; the next look may find it again
            self._away(error)
            return False
        arriving = [self._look_at(each) for each in deployments]  # all of them, whatever the first says
        return any(arriving)

    def _deployments(self) -> list[Any]:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

        require_server(self.settings)
        ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
        with get_client(sync_client=True) as client:
            return [each for each in client.read_deployments(deployment_filter=ours) if not each.paused]

    def _look_at(self, deployment: Any) -> bool:
        name = deployment.name
        try:
            config = read_run_file(Path(deployment.parameters["run_file"]))
            arriving = config.triggers.watch is not None and self._arriving(config, deployment)
        except ProjectError as error:
            self._trouble(name, error)
            return False
        except httpx.HTTPError as error:
            self._away(error)
            return False
        self.troubles.pop(name, None)
        return arriving

    def _arriving(self, config: RunConfig, deployment: Any) -> bool:
        """Have a model run if its data is new and complete; whether it is new and not complete."""
        triggers = config.triggers
        found = look_for(triggers.watch or (), config.folder, triggers.done_file)
        calm = self.calm.setdefault(config.name, Calm(triggers.settle_seconds))
        calm.settle_seconds = triggers.settle_seconds
        if not found or self._asked_for(config.name).get("data") == digest_of(found):
            return False
        if not calm.settled(found, time.monotonic()):
            return True
        self._ask(config, deployment, found)
        return False

    def _ask(self, config: RunConfig, deployment: Any, found: Mapping[str, str]) -> None:
        from prefect.client.orchestration import get_client

        known = self._asked_for(config.name).get("files", {})
        new = sorted(path for path, facts in found.items() if known.get(path) != facts)
        cause = f"new data: {Path(new[0]).name}" + (f" and {len(new) - 1} more" if len(new) > 1 else "") if new else ""
        with get_client(sync_client=True) as client:
            wait = ask_for_run(client, deployment, config.triggers, cause or "data that is gone")
        content = {"data": digest_of(found), "files": dict(found)}
        with storage_errors(self._place(config.name)):
            write_whole(self._place(config.name), canonical(content))
        when = f"not before {in_words(wait)}" if wait else "now"
        console.say(f"{config.name}: {cause or 'data that is gone'}; it runs {when}.")

    def _asked_for(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self._place(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content

    def _place(self, name: str) -> Path:
        return self.settings.home / "watch" / f"{name}.json"

    def _trouble(self, name: str, error: ProjectError) -> None:
        if self.troubles.get(name) != str(error):
            self.troubles[name] = str(error)
            log.warning("%s", error)

    def _away(self, error: Exception) -> None:
        log.warning("Prefect does not answer (%s); the next look tries again.", type(error).__name__)
