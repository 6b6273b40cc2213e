"""A real endpoint process of a tiny random model, for benchmarks of everything but the model: built in a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.models.model_directory import model_digest  # noqa: E402
from components.records import Bundle  # noqa: E402
from components.serving.bundling import build_bundle  # noqa: E402
from components.serving.endpoint_process import EndpointProcess, open_socket  # noqa: E402
from components.serving.places import Places, places_of  # noqa: E402
from components.serving.releases import Evidence, write_release  # noqa: E402
from components.settings import Settings, apply_settings, read_settings  # noqa: E402
from tests.bundles import build_model, registered, tiny_config  # noqa: E402

NAME = "support"


def tiny_bundle(home: Path, version: int) -> tuple[Settings, Bundle]:
    """A bundle whose answers differ from those of the other versions."""
    settings = read_settings({"REBERT_HOME": str(home)}, home)
    apply_settings(settings)
    folder = home / f"made-{version}"
    folder.mkdir(parents=True)
    model = build_model(folder, seed=version)
    config = tiny_config(NAME)
    return settings, build_bundle(settings, config, registered(config, version, model_digest(model)), model, Evidence())


@contextmanager
def small_endpoint(settings: Settings, bundle: Bundle) -> Iterator[EndpointProcess]:
    """The endpoint, with all files that `rebert serve` gives it."""
    write_release(settings, NAME, bundle)
    places: Places = places_of(settings, NAME)
    with (
        open_socket("127.0.0.1", 0) as listener,
        EndpointProcess(settings, bundle, listener, settings.home / "endpoint.log", places) as endpoint,
    ):
        endpoint.wait_until_ready()
        yield endpoint
