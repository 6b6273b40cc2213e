"""The parts of `rebert up`: what each can do, and the two servers, started here or watched elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from components.settings import Settings, without_passwords
from components.supervision.keeping import Keeper, Watch
from components.supervision.programs import Condition
from flows import servers
from flows.up_screen import View
from flows.up_start import Wishes


class Part(Protocol):
    """A server, a worker or an endpoint."""

    condition: Condition

    @property
    def healthy(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def prefect_part(settings: Settings, wishes: Wishes, view: View) -> tuple[Part, str]:
    """The part, and the address that clients use."""
    if settings.prefect_api_url:
        url = settings.prefect_api_url.rstrip("/")
        return Watch("prefect", without_passwords(url), partial(_answers, f"{url}/health"), view.changed), url
    settings.prefect_home.mkdir(parents=True, exist_ok=True)
    program = servers.prefect_server(settings, wishes.host, wishes.prefect_port)
    return Keeper(program, view.changed), f"{program.address}/api"


def mlflow_part(settings: Settings, wishes: Wishes, view: View) -> tuple[Part, str]:
    from components.registry.store import is_server, open_store

    if is_server(settings.tracking_uri):
        url = settings.tracking_uri.rstrip("/")
        return Watch("mlflow", without_passwords(url), partial(_answers, f"{url}/health"), view.changed), url
    if settings.embedded_tracking and "MLFLOW_BACKEND_STORE_URI" not in os.environ:
        open_store(settings)  # makes the tables; what is wrong with the file is one sentence now
    program = servers.mlflow_server(settings, wishes.host, wishes.mlflow_port)
    return Keeper(program, view.changed), program.address


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=2).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def stop_at_once(parts: Iterable[Part]) -> None:
    """Stop parts side by side."""
    threads = [threading.Thread(target=part.stop) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
