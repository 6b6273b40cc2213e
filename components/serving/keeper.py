"""The endpoint of a model for as long as it is wanted: its bundle in a child process, started again when it dies."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import FrameType

from components.config import Serving
from components.errors import BundleError, ProjectError, ServingError
from components.records import Bundle
from components.serving.endpoint_process import READY_SECONDS, EndpointProcess, open_socket
from components.serving.places import places_of
from components.serving.releases import read_bundle_release, read_release
from components.settings import Settings

WATCH_SECONDS = 0.5  # between two questions whether the child still answers
HANGING_SECONDS = 30.0  # without an answer before it is killed and started again
FOLLOW_SECONDS = 15.0  # between two looks at what is live
REFUSED_SECONDS = 60.0  # after which a release that a child has not swapped to is one that it refuses
STABLE_SECONDS = 30.0  # a child that lived so long was not at fault: the next pause is short again
PAUSES = (0.0, 0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the first, second, ... start in a row


def serve(
    settings: Settings,
    name: str,
    host: str | None = None,
    port: int | None = None,
    *,
    on_ready: Callable[[str, Bundle], None] | None = None,
    on_death: Callable[[], None] | None = None,
    on_swap: Callable[[str, Bundle], None] | None = None,
    on_refusal: Callable[[Bundle, int], None] | None = None,
    live: Callable[[], Bundle] | None = None,
    ended: threading.Event | None = None,
    ready_seconds: float = READY_SECONDS,
) -> None:
    """Serve the live version of a model until SIGINT or SIGTERM, and every later one from the moment it is promoted.

    Args:
        settings: where releases and bundles are.
        name: name of the model.
        host: address to listen on; None for the one in the bundle.
        port: port to listen on, 0 for a free one; None for the one in the bundle.
        on_ready: told the address and the bundle each time a child has become ready.
        on_death: told each time a child has died that was ready before.
        on_swap: told the address and the bundle each time a child has gone over to another version.
        on_refusal: told once of a release that the child does not swap to, and the version that answers instead.
        live: finds the bundle that is live and has the release file name it, asked at each start and now and then;
            None for the one that the release file names.
        ended: ends the serving when it is set, besides the signals.
        ready_seconds: how long a start may take.

    Raises:
        ServingError: nothing has been promoted, the port is taken, or the bundle does not start.
    """
    live = live or partial(_live_bundle, settings, name)
    bundle = live()
    limits = _limits(bundle)
    ended = ended or threading.Event()
    with (
        open_socket(host or limits.host, limits.port if port is None else port) as listener,
        _signals_set(ended),
    ):
        keeper = Keeper(settings, name, listener, ready_seconds, live, on_ready)
        keeper.on_death, keeper.on_swap, keeper.on_refusal = on_death, on_swap, on_refusal
        keeper.run(bundle, ended)


class Keeper:
    """Keeps one child at work on an open socket.

    Args:
        settings: where releases, bundles and logs are.
        name: name of the model.
        listener: the socket.
        ready_seconds: how long a start may take.
        live: finds the bundle that a child shall start with.
        on_ready: told the address and the bundle each time a child has become ready.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        listener: socket.socket,
        ready_seconds: float,
        live: Callable[[], Bundle],
        on_ready: Callable[[str, Bundle], None] | None,
    ) -> None:
        self.settings = settings
        self.name = name
        self.listener = listener
        self.ready_seconds = ready_seconds
        self.live = live
        self.on_ready = on_ready
        self.on_death: Callable[[], None] | None = None
        self.on_swap: Callable[[str, Bundle], None] | None = None
        self.on_refusal: Callable[[Bundle, int], None] | None = None
        self.refused: tuple[Bundle | None, float] = None, 0.0  # which does not answer, and since when
        self.good: Bundle | None = None  # the last one that is known to have answered
        self.failures = 0
        self.keys_seen = False  # a child that is started again without the file of keys must not open

    def run(self, bundle: Bundle, ended: threading.Event) -> None:
        """Serve until `ended` is set.

        Raises:
            ServingError: the first start failed; later ones are tried again.
        """
        self._serve_once(bundle, ended)
        while not ended.wait(PAUSES[min(self.failures, len(PAUSES) - 1)]):
            for candidate in self._candidates():
                try:
                    self._serve_once(candidate, ended)
                    break
                except ServingError:
                    self.failures += 1

    def _candidates(self) -> list[Bundle]:
        """The bundle that is live, then the one that answered last, in case the live one cannot start."""
        candidates = [bundle for bundle in (_or_none(self.live), self.good) if bundle]
        return candidates[:1] if candidates[0] == candidates[-1] else candidates

    def _serve_once(self, bundle: Bundle, ended: threading.Event) -> None:
        """Start the child and wait until it dies or the end comes."""
        places = replace(places_of(self.settings, self.name), keys_required=self._wants_keys())
        log = endpoint_log(self.settings, self.name)
        with EndpointProcess(self.settings, bundle, self.listener, log, places) as child:
            child.wait_until_ready(self.ready_seconds, ended)
            if ended.is_set():
                return
            self.good = bundle
            if self.on_ready:
                self.on_ready(child.address.url, bundle)
            began = time.monotonic()
            self._watch(child, ended)
            if self.on_death and not ended.is_set():
                self.on_death()
            self.failures = 0 if time.monotonic() - began > STABLE_SECONDS else self.failures + 1

    def _watch(self, child: EndpointProcess, ended: threading.Event) -> None:
        """Return when the child has died, hangs, or shall end; note which version it has swapped to meanwhile."""
        answered = asked = time.monotonic()
        while not _has_died(child, WATCH_SECONDS) and not ended.is_set():
            if time.monotonic() - asked > FOLLOW_SECONDS:  # promotions of another machine, an interrupted one of ours
                _or_none(self.live)
                asked = time.monotonic()
            version = child.version()
            self._wants_keys()
            if version is not None:
                answered = time.monotonic()
                self._note_version(version, child.address.url)
            elif time.monotonic() - answered > HANGING_SECONDS:
                child.process.kill()

    def _note_version(self, version: int, url: str) -> None:
        """Keep in mind, and tell, that the child has swapped to another version."""
        newest = _or_none(lambda: read_release(self.settings, self.name))
        self._look_for_refusal(newest, version)
        if newest is None or newest.version != version:
            return
        swapped = self.good is not None and self.good.version != version
        self.good = newest
        if self.on_swap and swapped:
            self.on_swap(url, newest)

    def _look_for_refusal(self, newest: Bundle | None, version: int) -> None:
        """GET /model says it with the reason, but only to who has an API key."""
        refused, since = self.refused
        if newest is None or newest.version == version:
            self.refused = None, 0.0
        elif newest != refused:
            self.refused = newest, time.monotonic()
        elif time.monotonic() - since > REFUSED_SECONDS:
            self.refused = newest, inf
            if self.on_refusal:
                self.on_refusal(newest, version)

    def _wants_keys(self) -> bool:
        self.keys_seen = self.keys_seen or self.settings.keys.exists()
        return self.keys_seen


def _has_died(child: EndpointProcess, seconds: float) -> bool:
    """Whether a child is dead, known at once when it dies within so many seconds.

    BentoML's own supervisor (circus) also starts a killed worker again, but that takes it ten seconds.
    """
    try:
        child.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _or_none(find: Callable[[], Bundle | None]) -> Bundle | None:
    """What is found; None where the registry is away or a file is damaged: the endpoint goes on with what it has."""
    try:
        return find()
    except ProjectError:
        return None


def endpoint_log(settings: Settings, name: str) -> Path:
    """The file that the endpoint of a model writes to."""
    return settings.home / "logs" / f"endpoint-{name}.log"


def _live_bundle(settings: Settings, name: str) -> Bundle:
    bundle = read_release(settings, name)
    if bundle is None:
        known = sorted(path.stem for path in settings.releases.glob("*.json"))
        there = f" Live here: {', '.join(known)}." if known else ""
        raise ServingError(f"No version of '{name}' is live.{there}", "run its run file first; that promotes one.")
    return bundle


def _limits(bundle: Bundle) -> Serving:
    try:
        return read_bundle_release(bundle.path / "src").serving
    except BundleError as error:
        raise ServingError(
            f"The bundle {bundle.tag} is not in the store, or is damaged.", "promote the version again."
        ) from error


@contextmanager
def _signals_set(ended: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `ended`; only a main thread can take them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
