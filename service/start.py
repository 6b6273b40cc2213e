"""Starts a bundle on a socket that is open already: what `bentoml serve` does with one worker, without its supervisor.

    python -m service.start --bundle FOLDER --fd NUMBER [--parent PROCESS]

The socket stays with the parent: while a process that died is replaced, connections wait instead of being refused.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from components.garbage import collect_rarely

LONG_START_SECONDS = 60  # where a start takes three: then the log gets the lines at which all threads are
STOP_SECONDS = 15  # for requests under way when the process shall end
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h


def main() -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone."""
    collect_rarely()
    options = _options()
    if options.parent:
        die_with(options.parent)
    _raise_file_limit()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    serve(options.bundle, socket.socket(fileno=options.fd))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.start", description="Serve a bundle.")
    parser.add_argument("--bundle", required=True, help="folder of the Bento")
    parser.add_argument("--fd", type=int, required=True, help="number of the listening socket")
    parser.add_argument("--parent", type=int, default=0, help="process with which this one ends")
    return parser.parse_args()


def die_with(parent: int) -> None:
    """End this process when its parent ends, however that happens; where the system cannot, only its clean end does."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before that was set
        sys.exit(1)


def _raise_file_limit() -> None:
    """Idle connections must not use up the files that the others need."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(bundle: str, listener: socket.socket) -> None:
    """Load the Bento in a folder and answer on a socket until a signal."""
    faulthandler.dump_traceback_later(LONG_START_SECONDS)  # until the application has started
    from service.ahead import begin_to_load

    begin_to_load(Path(bundle) / "src")
    import bentoml
    import uvicorn

    from service.connections import refusing

    service: Any = bentoml.load(bundle, standalone_load=True)
    from service.endpoint import application, front  # the one that was loaded just now

    config = uvicorn.Config(
        front(service.to_asgi()),  # around BentoML's own layers, too: they cost a fifth of what a request costs here
        http=refusing(application.refuse),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request comes from
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
