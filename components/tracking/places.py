"""Where what became of a run is kept: its artifacts, its numbers, the two tags that everybody reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from components.errors import ProjectError, RegistryAway, RegistryError
from components.registry.store import is_away, open_store
from components.settings import Settings, without_passwords
from components.step_store import MARKER, storage_errors

LONGEST_TAG = 8000  # characters in MLflow's database
LARGEST_FILE = 100 << 20  # bytes; larger tables stay in the step's folder


@dataclass(frozen=True, slots=True)
class Place:
    """The artifacts and metrics of a run."""

    client: Any
    run_id: str
    settings: Settings

    def upload(self, source: Path, folder: str) -> None:
        """Put a file, or the files of a folder, below `folder` of the run's artifacts."""
        files = [source] if source.is_file() else [path for path in sorted(source.rglob("*")) if path.is_file()]
        with artifact_errors(self.settings):
            for path in files:
                if path.stat().st_size > LARGEST_FILE or path.name == MARKER:
                    continue
                below = path.parent.relative_to(source) if source.is_dir() else Path()
                self.client.log_artifact(self.run_id, str(path), (Path(folder) / below).as_posix())

    def metrics(self, values: dict[str, float | None]) -> None:
        """Log single numbers, where they are not what the run says already."""
        from mlflow.entities import Metric

        now = int(time() * 1000)
        logged = self.client.get_run(self.run_id).data.metrics
        known = {name: float(value) for name, value in values.items() if value is not None}
        new = [Metric(name, value, now, 0) for name, value in known.items() if logged.get(name) != value]
        self.client.log_batch(self.run_id, new)


def place_of(settings: Settings, run_id: str) -> Place:
    """Where what became of a run is kept."""
    return Place(open_store(settings), run_id, settings)


def say_what_came_of_it(place: Place, decision: str, reason: str) -> None:
    """The two tags that people see as columns in the list of runs."""
    place.client.set_tag(place.run_id, "decision", decision)
    place.client.set_tag(place.run_id, "reason", reason[:LONGEST_TAG])


@contextmanager
def artifact_errors(settings: Settings) -> Iterator[None]:
    """Turn what an artifact store raises into our errors; each store (disk, S3, server) has exceptions of its own."""
    from mlflow.exceptions import MlflowException

    try:
        with storage_errors(settings.artifacts):
            yield
    except (ProjectError, MlflowException):
        raise
    except Exception as error:
        kind = RegistryAway if is_away(error) else RegistryError
        where = without_passwords(settings.tracking_uri)
        raise kind(
            f"The artifact store of MLflow at {where} does not work: {without_passwords(str(error))}",
            "check its address, its rights and, for S3, the AWS_ variables; then run again.",
        ) from error
