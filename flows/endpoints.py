"""The endpoints of all champions, kept at work in threads of one process."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from components.errors import ProjectError
from components.records import Bundle
from components.settings import Settings
from components.step_store import write_whole
from components.supervision.programs import Condition, Listener
from components.supervision.supervised import RETRIES, Supervised
from flows.serving import live_bundle, tell_refusal

PORTS_TRIED = 100


class ChampionEndpoint(Supervised):
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

        super().__init__(Condition(f"endpoint {name}", "waiting", log=str(endpoint_log(settings, name))), listener)
        self.name, self.settings, self.host, self.port = name, settings, host, port

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
                    on_swap=self._is_ready,
                    on_refusal=partial(tell_refusal, self.name, self.settings),
                    live=lambda: live_bundle(self.name, self.settings),
                    ended=self._end,
                )
            except ProjectError as error:
                self._tell("failing", note=error.problem)
            if self._end.wait(pause):
                break
        self._tell("stopped", note="")

    def _pauses(self) -> Iterable[float]:
        yield from RETRIES
        while True:
            yield RETRIES[-1]

    def _is_ready(self, url: str, bundle: Bundle) -> None:
        self._tell("healthy", address=url, note=f"version {bundle.version}")

    def _has_died(self) -> None:
        self._tell("failing", restarts=self.condition.restarts + 1, note="It died, and is started again.")


def has_bundled_champion(settings: Settings, name: str) -> bool:
    """Whether a model has a champion which was bundled.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from components import registry, tracking

    champion = registry.champion(settings, name)
    return champion is not None and tracking.was_bundled(settings, champion.run_id)


def port_of(name: str, wanted: int, settings: Settings, host: str) -> int:
    """The port of a model's endpoint: the one that it had last time, else the first free one from `wanted` on.

    Two models whose run files name the same port, as they do when they name none, get ports of their own.
    """
    if wanted == 0:
        return 0
    file = _ports_file(settings)
    had = _read_ports(file)
    if name in had and had[name].wanted == wanted:
        return had[name].port
    taken = {place.port for other, place in had.items() if other != name}
    tried = range(wanted, min(wanted + PORTS_TRIED, 65536))
    found = next((port for port in tried if port not in taken and _is_free(host, port)), wanted)
    write_whole(file, json.dumps({**had, name: Place(wanted, found)}, indent=2, sort_keys=True) + "\n")
    return found


def known_port(name: str, settings: Settings) -> int | None:
    """The port that the endpoint of a model last had here; None where it was served by hand only."""
    place = _read_ports(_ports_file(settings)).get(name)
    return place.port if place else None


def _ports_file(settings: Settings) -> Path:
    return settings.home / "up" / "ports.json"


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
