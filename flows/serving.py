"""`rebert serve` and `rebert rollback`: what is live according to the registry, and the endpoint that follows it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from components.errors import RegistryError
from components.records import Bundle, as_json
from components.settings import Settings
from flows import console

LONGEST_PAUSE_SECONDS = 30.0
LOOK_SECONDS = 0.25


def roll_back(name: str, settings: Settings, to: int | None, reason: str, as_json_object: bool) -> None:
    """Make an earlier champion live again, in the registry and on the endpoint."""
    from components import registry

    event = registry.rollback(settings, name, to, reason=reason)
    bundle = follow_registry(name, settings)
    if as_json_object:
        console.print_json({"model": name, "champion": event.after, "bundle": bundle.tag, "event": as_json(event)})
    else:
        console.print_text(f"The champion of '{name}' is version {event.after} again, instead of {event.before}.")


def follow_registry(name: str, settings: Settings) -> Bundle:
    """The bundle of the champion, which the release file names from now on; built again where the store lost it.

    Raises:
        RegistryError: there is no champion.
    """
    from components import registry
    from components.bundling import find_bundle, rebuild_bundle
    from components.releases import read_release, write_release

    champion = registry.champion(settings, name)
    if champion is None:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(f"'{name}' has no champion; models here: {known}.", "run the model's run file first.")
    release = read_release(settings, name)
    bundle = find_bundle(settings, champion)
    if bundle is None:
        model = registry.download_model(
            settings, name, champion.version, settings.home / "champions" / champion.digest[:16]
        )
        bundle = rebuild_bundle(settings, champion, model)
    if release != bundle:
        write_release(settings, name, bundle)
    return bundle


def serve_model(name: str, settings: Settings, host: str | None, port: int | None) -> None:
    """Serve the champion until Ctrl-C or SIGTERM; an endpoint that dies is started again.

    Raises:
        RegistryError: there is no champion.
        ServingError: the port is taken, or the bundle does not start.
    """
    from components.endpoint_process import EndpointProcess, open_socket
    from components.releases import read_bundle_release, release_file

    bundle = follow_registry(name, settings)
    serving = read_bundle_release(bundle.path / "src").serving
    log = settings.home / "logs" / f"endpoint-{name}.log"
    stop = _stop_on_signals()
    with open_socket(host or serving.host, serving.port if port is None else port) as listener:
        pause = 1.0
        while not stop.is_set():
            current = follow_registry(name, settings)
            with EndpointProcess(settings, current, listener, log, release_file(settings, name)) as endpoint:
                endpoint.wait_until_ready()
                console.say(f"{name} version {current.version} at {endpoint.address.url} (log: {log}; Ctrl-C ends it)")
                while not stop.wait(LOOK_SECONDS) and endpoint.process.poll() is None:
                    pause = max(1.0, pause * 0.99)
            if not stop.is_set():
                console.say(f"The endpoint ended with code {endpoint.process.returncode}; it starts again. See {log}.")
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return stop
