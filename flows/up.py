"""`rebert up`: the servers, a worker and the endpoints of all champions, kept at work together on one machine.

A server that an address names (PREFECT_API_URL, MLFLOW_TRACKING_URI as http) is only watched. Everything else is
started, asked for its health, started again when it dies, and ends with this process however that ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.config import RunConfig
from components.errors import ProjectError, ServingError
from components.run_files import read_run_file
from components.settings import Settings, apply_settings, without_passwords
from components.supervision.keeping import Keeper
from flows import console, servers
from flows.endpoints import ChampionEndpoint, has_bundled_champion, port_of
from flows.notifying import in_a_line
from flows.server_access import prefect_password, require_closed
from flows.up_parts import Part, mlflow_part, prefect_part, stop_at_once
from flows.up_screen import JsonLines, Lines, Screen, View
from flows.up_start import Wishes, free_port, free_ports, only_one, signals, warnings_to

if TYPE_CHECKING:
    from flows.watching import Watcher

POOL = "rebert"
CHORE_SECONDS = 10.0  # between two looks at what is live and what has died
FIRST_STARTS = 3  # of a server that never answered: then it is no use to go on


def bring_up(run_files: Sequence[Path], settings: Settings, wishes: Wishes, as_json_lines: bool) -> None:
    """Keep everything at work until Ctrl-C or SIGTERM.

    Raises:
        ProjectError: a run file is wrong, a port is taken, it is up already, or a server does not start.
    """
    configs = [(path.resolve(), read_run_file(path)) for path in run_files]
    require_closed(wishes.host, os.environ)
    with only_one(settings), signals() as ended:
        wishes = replace(wishes, **free_ports(settings, wishes))
        view: View = JsonLines() if as_json_lines else Screen() if console.err.is_terminal else Lines()
        try:
            with warnings_to(view):
                installation = Installation(settings, wishes, configs, view)
                installation.keep(ended)
        finally:
            view.close()


class Installation:
    """All parts that are kept at work on this machine.

    Args:
        settings: as the environment says; servers that no address names are started here.
        wishes: ports, address, runs at a time.
        configs: run files that are deployed, with their paths.
        view: told of every change.
    """

    def __init__(
        self, settings: Settings, wishes: Wishes, configs: Sequence[tuple[Path, RunConfig]], view: View
    ) -> None:
        self.wishes, self.configs, self.view = wishes, configs, view
        self.prefect, api = prefect_part(settings, wishes, view)
        self.mlflow, tracking = mlflow_part(settings, wishes, view)
        self.settings = replace(settings, prefect_api_url=api, tracking_uri=tracking)
        self.workers: list[Keeper] = []
        self.endpoints: dict[str, ChampionEndpoint] = {}
        self.error: ProjectError | None = None
        self._ready = False
        self._watcher: Watcher | None = None
        self._troubles: dict[str, str] = {}
        self._chores: list[Callable[[], bool]] = [self._deploy, self._start_workers]

    def keep(self, ended: threading.Event) -> None:
        """Keep everything at work until `ended` is set.

        Raises:
            ProjectError: a server does not start, or a run file cannot be deployed.
        """
        try:
            self._run(ended)
        finally:
            self.stop()

    def _run(self, ended: threading.Event) -> None:
        apply_settings(self.settings)
        os.environ.update(prefect_password(os.environ))
        os.environ["PREFECT_API_URL"] = str(self.settings.prefect_api_url)
        self._start(self.prefect, self.mlflow)
        threading.Thread(target=self._look_after, args=(ended,), daemon=True).start()
        while not ended.wait(1.0):
            self.view.refresh()
            self.error = self.error or self._hopeless()
            if self.error:
                raise self.error

    def stop(self) -> None:
        """End the parts, first those that need others."""
        for endpoint in self.endpoints.values():
            endpoint.ask_to_stop()
        stop_at_once([*self.workers, *self.endpoints.values()])
        stop_at_once([self.mlflow, self.prefect])

    def _start(self, *parts: Part) -> None:
        for part in parts:
            self.view.changed(part.condition)
            part.start()

    def _hopeless(self) -> ServingError | None:
        """What is wrong with a server that has never answered and dies whenever it is started."""
        for part in (self.prefect, self.mlflow):
            now = part.condition
            if isinstance(part, Keeper) and not part.answered and now.restarts >= FIRST_STARTS:
                return ServingError(f"{now.name} does not start: {now.note}", f"read {now.log}, and correct it.")
        return None

    def _look_after(self, ended: threading.Event) -> None:
        """What is to be done now and then, in a thread of its own: a server that hangs must not hold up Ctrl-C."""
        looked = 0.0
        while not ended.wait(0.5):
            try:
                self._chores = [chore for chore in self._chores if not chore()]
            except ProjectError as error:
                self.error = error
                return
            except Exception as error:
                self.view.say(in_a_line(error))
            if self.mlflow.healthy and time.monotonic() - looked > CHORE_SECONDS:
                looked = time.monotonic()
                for look in (self._bury, self._watch_data, self._follow_champions, self._complete_moves):
                    self._guarded(look.__name__, look)
            self._tell_when_ready(looked > 0)

    def _guarded(self, what: str, look: Callable[[], None]) -> None:
        """Do it; what goes wrong is said, again only when it changes, and holds up nothing else."""
        try:
            look()
        except Exception as error:
            said = error.problem if isinstance(error, ProjectError) else in_a_line(error)
            if self._troubles.get(what) != said:
                self._troubles[what] = said
                self.view.say(said)
        else:
            self._troubles.pop(what, None)

    def _deploy(self) -> bool:
        if not self.prefect.healthy:
            return False
        from flows.deployed import FLOW
        from flows.deployments import deploy, see_to_dead_runs, warn_of_addresses

        see_to_dead_runs()
        warn_of_addresses(config for _, config in self.configs)
        for path, config in self.configs:
            for found in deploy(path, config, self.settings):
                what = f"{found.model}, {found.flow}" if found.flow != FLOW else found.model
                self.view.say(f"{what}: {found.outcome}, {found.schedule}")
        return True

    def _start_workers(self) -> bool:
        if not self.prefect.healthy:
            return False
        from flows.deployments import is_of_processes

        pools = {POOL, *(config.schedule.work_pool for _, config in self.configs)}
        for pool in sorted(filter(is_of_processes, pools)):
            program = servers.prefect_worker(self.settings, pool, self.wishes.runs, free_port())
            needs = replace(program, after=lambda: self.prefect.healthy)
            self.workers.append(Keeper(needs, self.view.changed))
            self._start(self.workers[-1])
        return True

    def _follow_champions(self) -> None:
        """Give each model that has its first champion an endpoint; what is wrong with one holds up no other."""
        from components import registry

        for name in registry.list_models(self.settings):
            if name not in self.endpoints:
                self._guarded(f"endpoint of {name}", partial(self._give_endpoint, name))

    def _give_endpoint(self, name: str) -> None:
        from components.serving.releases import read_bundle_release
        from flows.serving import live_bundle

        if not has_bundled_champion(self.settings, name):
            return
        wanted = read_bundle_release(live_bundle(name, self.settings).path / "src").serving
        port = port_of(name, wanted.port, self.settings, wanted.host)
        endpoint = ChampionEndpoint(name, self.settings, wanted.host, port, self.view.changed)
        self.endpoints[name] = endpoint
        self._start(endpoint)

    def _complete_moves(self) -> None:
        """Tell endpoints of a champion whose promotion was killed half-way; the next run may be a week away."""
        for name in self.endpoints:
            self._guarded(f"move of {name}", partial(self._complete_move, name))

    def _complete_move(self, name: str) -> None:
        from flows.serving import complete_move

        if version := complete_move(name, self.settings):
            self.view.say(f"{name}: the interrupted move to version {version} is complete now.")

    def _bury(self) -> None:
        from flows.watching import see_to_the_dead

        for run_id in see_to_the_dead(self.settings):
            self.view.say(f"MLflow run {run_id} was closed: its process had died.")

    def _watch_data(self) -> None:
        """Ask for a run where new data has landed, as `rebert watch` does."""
        if not self.prefect.healthy:
            return
        from flows.watching import Watcher

        self._watcher = self._watcher or Watcher(self.settings)
        self._watcher.look()

    def _tell_when_ready(self, looked: bool) -> None:
        parts: list[Part] = [self.prefect, self.mlflow, *self.workers, *self.endpoints.values()]
        if self._ready or not looked or self._chores or not all(part.healthy for part in parts):
            return
        self._ready = True
        addresses = f"PREFECT_API_URL={self.settings.prefect_api_url} MLFLOW_TRACKING_URI={self.settings.tracking_uri}"
        self.view.say(f"All is up. In other shells: export {without_passwords(addresses)}")
