"""A bundle served by a child process: started on an open socket, watched until it is ready, stopped by its id."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from components.errors import ServingError
from components.processes.ending import end_process
from components.records import Bundle
from components.serving.places import Places, environment_of_places
from components.settings import DEFAULTS, Settings, environment_of, without_secrets

# Variables that the child gets: the system's, threads and devices, and what keeps its libraries quiet.
NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|LD_\w+|DYLD_\w+|MALLOC_\w+"
    r"|PYTHON(?!PATH$)\w+|(OMP|GOMP|KMP|MKL|OPENBLAS|NUMEXPR|CUDA|NVIDIA|CUBLAS|TORCH|PYTORCH|ONEDNN)_\w+"
    r"|(HF|TRANSFORMERS|TOKENIZERS|TQDM|BENTOML)_\w+|DO_NOT_TRACK"
)
READY_SECONDS = 120.0
STOP_SECONDS = 20.0  # a little longer than the child takes for requests under way
POLL_SECONDS = 0.02
# In the child's log: what service/endpoint.py says of a bundle that it cannot load, or the end of a traceback.
TELLING = re.compile(r"(?: CRITICAL |^(?=[\w.]*(?:Error|Exception): ))(.*)")
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ServingError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise ServingError(f"There is no address {host}: {error.strerror}.", "set serving.host to another.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _not_bound(host, port, error) from error
    return listener


def _not_bound(host: str, port: int, error: OSError) -> ServingError:
    if error.errno == errno.EADDRINUSE:
        return ServingError(
            f"Port {port} on {host} is taken{_holder(port)}.",
            "end that process, or choose another port; 0 takes a free one.",
        )
    return ServingError(
        f"Port {port} on {host} cannot be opened: {error.strerror}.",
        "choose an address of this machine and a port above 1023.",
    )


def _holder(port: int) -> str:
    """Who listens on a port, where this user may know it."""
    import psutil

    try:
        found = [
            item.pid
            for item in psutil.net_connections("tcp")
            if item.pid and item.status == psutil.CONN_LISTEN and item.laddr and item.laddr.port == port
        ]
        return f" by {psutil.Process(found[0]).name()}, process {found[0]}" if found else ""
    except psutil.Error:
        return ""


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens; a socket on every interface is asked on this machine's own."""
    host, port = listener.getsockname()[:2]
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - read, not bound


class EndpointProcess:
    """A child process that serves one bundle; a context manager that stops it.

    Args:
        settings: where telemetry is off and folders are.
        bundle: what it serves first.
        listener: the open socket; it stays the caller's.
        log: file that the child's output is added to.
        places: files that it follows and writes; by default none.

    Raises:
        ServingError: the bundle is not there, or the child cannot be started.
    """

    def __init__(
        self, settings: Settings, bundle: Bundle, listener: socket.socket, log: Path, places: Places | None = None
    ) -> None:
        source = bundle.path.resolve() / "src"
        if not (source / "service" / "start.py").is_file():
            raise ServingError(f"The bundle {bundle.tag} is not in the store.", "promote the version again.")
        self.bundle = bundle
        self.address = address_of(listener)
        self.log = log
        self.started = time.monotonic()
        numbers = ["--fd", str(listener.fileno()), "--parent", str(os.getpid())]
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log_begins = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.start", "--bundle", str(source.parent), *numbers],
                cwd=source,  # whatever lies in the caller's folder is not imported
                env=_environment(settings, places or Places()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C reaches us; we end the child
            )

    def wait_until_ready(self, seconds: float = READY_SECONDS, ended: threading.Event | None = None) -> float:
        """Seconds from the start to the first answer, or to the moment when `ended` was set.

        Raises:
            ServingError: it ended, or did not answer in time.
        """
        while time.monotonic() - self.started < seconds:
            if self.process.poll() is not None:
                raise ServingError(
                    f"The bundle {self.bundle.tag} does not start: {self._last_words()}", f"read {self.log}."
                )
            if self.version() is not None or (ended and ended.is_set()):
                return time.monotonic() - self.started
            time.sleep(POLL_SECONDS)
        raise ServingError(
            f"The bundle {self.bundle.tag} did not answer within {seconds:g} seconds.", f"read {self.log}."
        )

    def version(self) -> int | None:
        """The model version that answers now; None while none does. Waits up to a second."""
        return version_at(self.address)

    def stop(self) -> None:
        """Let it answer what it has and end; kill it if it does not."""
        end_process(self.process, grace=STOP_SECONDS)

    def _last_words(self) -> str:
        with self.log.open("rb") as output:
            output.seek(self.log_begins)
            lines = output.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        telling = [found[1] for line in said if (found := TELLING.search(line))] or said
        return telling[-1] if telling else f"it ended with code {self.process.returncode} and said nothing."

    def __enter__(self) -> EndpointProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _environment(settings: Settings, places: Places) -> dict[str, str]:
    """What the child needs and no more: it answers strangers, and needs none of our secrets."""
    known = {**DEFAULTS, **os.environ, **environment_of(settings)}
    kept = {name: value for name, value in without_secrets(known).items() if NEEDED.fullmatch(name)}
    return {**kept, **environment_of_places(places), "PYTHONUNBUFFERED": "1"}


def version_at(address: Address) -> int | None:
    """The model version that answers at an address; None while none does. Waits up to a second."""
    try:
        status, content = ask(address, "GET", "/readyz", seconds=1.0)
        return int(content["version"]) if status == 200 else None
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None


def ask(
    address: Address, method: str, path: str, content: Mapping[str, Any] | None = None, seconds: float = 60.0
) -> tuple[int, Any]:
    """Status and JSON of one request on a connection of its own.

    Raises:
        OSError: nobody answers.
    """
    connection = http.client.HTTPConnection(address.host, address.port, timeout=seconds)
    try:
        return converse(connection, method, path, content)
    finally:
        connection.close()


def converse(
    connection: http.client.HTTPConnection, method: str, path: str, content: Mapping[str, Any] | None = None
) -> tuple[int, Any]:
    """Status and JSON of one request on an open connection."""
    body = None if content is None else json.dumps(content).encode()
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    return response.status, json.loads(response.read() or b"null")
