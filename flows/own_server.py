"""Prefect's server for one command, where no address names another.

It is what Prefect itself would start in such a case, but Prefect starts it with the first call only, waits for it then,
and leaves it behind when the command is killed. This one starts while we still import and plan, and ends with us: the
system closes its standard input when we die, also by `kill -9`.

    python -m flows.own_server NUMBER-OF-A-LISTENING-SOCKET FOLDER-OF-ITS-DATABASE
"""

from __future__ import annotations

import atexit
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from components.errors import OrchestrationError
from components.garbage import collect_rarely
from components.processes.ending import end_process
from components.settings import Settings
from components.step_store import failures_of_a_full_disk, is_full, storage_errors

START_SECONDS = 180.0  # ten in a new home, and on busy cores a minute
END_SECONDS = 5.0
WAITING = 128  # connections that the system keeps until the server answers
LOG_LINES = 3
AGAIN_SECONDS = (b"0.2", b"0.4", b"0.8")
CALM_SECONDS = 5.0
ADDRESS = "PREFECT_API_URL"
SERVER = {
    "PREFECT__SERVER_EPHEMERAL": "1",  # only the services that record runs
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    # Nobody reads the events of such a server; while they are written, SQLite turns away runs for two seconds each.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class OwnServer:
    """A server on a free port of this machine; what is asked before it answers waits in the system's queue."""

    def __init__(self, settings: Settings) -> None:
        self._log = settings.home / "logs" / f"prefect-{os.getpid()}.log"
        with storage_errors(settings.home):  # a full disk is a sentence
            for folder in (settings.prefect_home, self._log.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self._log.touch()
        with closing(socket.create_server(("127.0.0.1", 0), backlog=WAITING)) as listening, self._log.open("wb") as log:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                (sys.executable, "-m", "flows.own_server", str(listening.fileno()), str(settings.prefect_home)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **SERVER},
                pass_fds=(listening.fileno(),),
            )
        # Before prefect is imported, so after what it sends to the server at its own end.
        atexit.register(self.end)

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            OrchestrationError: it ended instead, or takes too long.
            StorageError: it ended because the disk is full.
        """
        import httpx

        try:
            with failures_of_a_full_disk(self._log.parent):
                httpx.get(f"{self.url}/health", timeout=START_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
            raise OrchestrationError(
                f"Prefect's own server did not start: {' '.join(last) or error}.",
                "see that the folder PREFECT_HOME can be written, or set PREFECT_API_URL to a server that runs.",
            ) from error

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        end_process(self._process, grace=END_SECONDS)
        with suppress(OSError):
            self._log.unlink()


@contextmanager
def address_for_prefect(server: OwnServer | None) -> Iterator[None]:
    """While Prefect is imported inside, it learns that address; nothing else that we start or ask does."""
    if server is None:
        yield
        return
    os.environ[ADDRESS] = server.url
    try:
        yield
    finally:
        del os.environ[ADDRESS]


def main(listening: int, home: Path) -> None:
    """Serve Prefect's API on a socket that is already open, until the standard input ends."""
    collect_rarely()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    app = not_again_when_full(again_soon(create_app()), home)
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def again_soon(app: App) -> App:
    """The app, with word on its 503 answers to ask again soon.

    SQLite turns away whoever reads, then writes after somebody else did; a moment later it lets them. Prefect's
    client waits two seconds unless told otherwise, six times in an ordinary run. Who is turned away again and again
    waits as long as Prefect means it to: then the database is busy for other reasons.
    """
    turned_away: dict[str, tuple[int, float]] = {}  # how often one after the other, and when last

    def again(path: str) -> list[tuple[bytes, bytes]]:
        times, last = turned_away.get(path, (0, -math.inf))
        times = times + 1 if time.monotonic() - last < CALM_SECONDS else 1
        turned_away[path] = (times, time.monotonic())
        return [(b"retry-after", AGAIN_SECONDS[times - 1])] if times <= len(AGAIN_SECONDS) else []

    async def answer(scope: Scope, receive: Any, send: Callable[[Scope], Awaitable[None]]) -> None:
        async def sent(message: Scope) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
                message["headers"] = [*message["headers"], *again(scope["path"])]
            await send(message)

        await app(scope, receive, sent)

    return answer


def not_again_when_full(app: App, home: Path) -> App:
    """The app, with 507 in place of 500 while the disk is full: the client asks again for minutes after a 500."""

    async def answer(scope: Scope, receive: Any, send: Callable[[Scope], Awaitable[None]]) -> None:
        async def sent(message: Scope) -> None:
            if message.get("status") == HTTPStatus.INTERNAL_SERVER_ERROR and is_full(home):
                log = scope["path"].endswith("/logs/")  # each line that is refused would be a traceback on the screen
                message["status"] = (HTTPStatus.CREATED if log else HTTPStatus.INSUFFICIENT_STORAGE).value
            await send(message)

        await app(scope, receive, sent)

    return answer


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
