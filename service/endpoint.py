"""The BentoML service of a bundle: its life cycle around the application that answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import bentoml

from components.errors import ProjectError
from components.serving.places import read_places
from service.application import Application
from service.guard import Receive, Scope, Send

log = logging.getLogger(__name__)
application = Application(Path(__file__).resolve().parent.parent, read_places(os.environ))


def front(app: Any) -> Any:
    """Let the application answer every request itself.

    BentoML's router would answer /livez and its own pages first, in another shape; what it wraps around a request
    (access log, metrics by path, tracing, a timer) costs more than the request itself.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else application)(scope, receive, send)

    return answer


@bentoml.service(
    name="rebert-endpoint",
    workers=1,
    traffic={"timeout": 3600},  # ours is the batcher's; BentoML's leaves the work running
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": "."},
    http={"host": "127.0.0.1"},  # a container that shall be reached passes --host 0.0.0.0
)
class Endpoint:
    """Loads the model of the bundle that this file lies in, and follows the files that its environment names."""

    def __init__(self) -> None:
        try:
            application.start()
        except ProjectError as error:
            log.critical("%s", error.problem)  # the last words that whoever started us shows
            raise

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Answer what is queued and end."""
        application.stop()


Endpoint.add_asgi_middleware(front)  # type: ignore[attr-defined] # the decorator makes it a bentoml.Service
