"""The endpoints of all champions, kept at work in threads of one process."""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from components.errors import ProjectError
from components.records import Bundle
from components.settings import Settings
from components.step_store import write_whole
from components.supervision.programs import Condition, Listener, State
from flows.serving import live_bundle

PORTS_TRIED = 100
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds before an endpoint that could not start is tried again


class ChampionEndpoint:
    """The endpoint of one model; outside it looks like a `Keeper` of a program.

    Args:
        name: of the model.
        settings: addresses and folders; MLflow is asked what is live.
        host: address to listen on.
        port: port to listen on.
        listener: told of every change, in the endpoint's thread.
    """

    def __init__(self, name: str, settings: Settings, host: str, port: int, listener: Listener) -> None:
        from components.serving.keeper import endpoint_log

        self.condition = Condition(f"endpoint {name}", "waiting", log=str(endpoint_log(settings, name)))
        self.name, self.settings, self.host, self.port = name, settings, host, port
        self._listener = listener
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"endpoint of {name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it answer what it has and end; returns at once."""
        self._end.set()

    def stop(self) -> None:
        """Let it answer what it has and end, and wait for that."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def healthy(self) -> bool:
        """Whether it answered when it was last asked."""
        return self.condition.state == "healthy"

    def _run(self) -> None:
        from components.serving.keeper import serve

        for pause in self._pauses():
            self._tell("starting")
            try:
                serve(
                    self.settings,
                    self.name,
                    self.host,
                    self.port,
                    on_ready=self._is_ready,
                    on_death=self._has_died,
                    live=lambda: live_bundle(self.name, self.settings),
                    ended=self._end,
                )
            except ProjectError as error:
                self._tell("failing", note=error.problem)
            if self._end.wait(pause):
                break
        self._tell("stopped", note="")

    def _pauses(self) -> Iterable[float]:
        yield from PAUSES
        while True:
            yield PAUSES[-1]

    def _is_ready(self, url: str, bundle: Bundle) -> None:
        self._tell("healthy", address=url, note=f"version {bundle.version}")

    def _has_died(self) -> None:
        self._tell("failing", restarts=self.condition.restarts + 1, note="It died, and is started again.")

    def _tell(self, state: State, **changes: Any) -> None:
        self.condition = replace(self.condition, state=state, **changes)
        self._listener(self.condition)


def find_champions(settings: Settings, known: Iterable[str]) -> list[str]:
    """Names of the models that have a champion which was bundled, without those that are known already.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from components import registry, tracking

    new = [name for name in registry.list_models(settings) if name not in set(known)]
    champions = [champion for name in new if (champion := registry.champion(settings, name))]
    return [champion.name for champion in champions if tracking.was_bundled(settings, champion.run_id)]


def port_of(name: str, wanted: int, settings: Settings, host: str) -> int:
    """The port of a model's endpoint: the one that it had last time, else the first free one from `wanted` on.

    Two models whose run files name the same port, as they do when they name none, get ports of their own.
    """
    if wanted == 0:
        return 0
    file = settings.home / "up" / "ports.json"
    had = _read_ports(file)
    if name in had and had[name].wanted == wanted:
        return had[name].port
    taken = {place.port for other, place in had.items() if other != name}
    tried = range(wanted, min(wanted + PORTS_TRIED, 65536))
    found = next((port for port in tried if port not in taken and _is_free(host, port)), wanted)
    write_whole(file, json.dumps({**had, name: Place(wanted, found)}, indent=2, sort_keys=True) + "\n")
    return found


class Place(NamedTuple):
    """The port that a run file names, and the one that the endpoint got."""

    wanted: int
    port: int


def _read_ports(file: Path) -> dict[str, Place]:
    try:
        content: Mapping[str, Any] = json.loads(file.read_bytes())
        return {name: Place(int(wanted), int(port)) for name, (wanted, port) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # not there, or damaged: it is written anew
        return {}


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
