"""The monitor in MLflow: one run for each version, its windows as steps of curves, each with its report and pictures.

One run a window would bury the trainings; so the curves show how each effect moved since the version went live.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any

from components.errors import RegistryError
from components.records import RegisteredVersion
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings
from components.step_store import temporary_folder
from components.tracking.places import LONGEST_TAG, artifact_errors, place_of

KIND, MONITORING = "rebert.kind", "monitoring"
VERSION = "rebert.version"
REFERENCE = "monitoring/reference"  # artifacts of the run that made a version
NOTE = "mlflow.note.content"


@mlflow_errors
def log_look(settings: Settings, version: RegisteredVersion, content: Mapping[str, Any], report: Path) -> str:
    """Show a window in the monitoring run of a version; returns that run's id.

    Args:
        content: as from `report_content`.
        report: a folder with report.md, report.json and pictures.
    """
    client = open_store(settings)
    run_id = _run_of(client, version)
    number = int(content["window"]["number"])
    client.log_batch(run_id, metrics=_metrics(content, number))
    for name in ("verdict", "reason"):
        client.set_tag(run_id, name, str(content[name])[:LONGEST_TAG])
    words = (report / "report.md").read_text(encoding="utf-8")
    client.set_tag(run_id, NOTE, words[:LONGEST_TAG])
    ended = str(content["window"]["ended"])[:16].replace(":", "-") or "feedback"
    place_of(settings, run_id).upload(report, f"windows/{number:05d} {ended}".replace(" ", "_"))
    client.set_terminated(run_id)
    return run_id


def _run_of(client: Any, version: RegisteredVersion) -> str:
    """The monitoring run of a version, in the experiment of the run that made it."""
    experiment = client.get_run(version.run_id).info.experiment_id
    query = f"tags.`{KIND}` = '{MONITORING}' and tags.`{VERSION}` = '{version.version}'"
    found = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"], max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {KIND: MONITORING, VERSION: str(version.version), "mlflow.source.name": "rebert monitor"}
    made = client.create_run(experiment, run_name=f"monitoring of version {version.version}", tags=tags)
    return str(made.info.run_id)


def _metrics(content: Mapping[str, Any], number: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time() * 1000)
    gravity = {"ok": 0, "watch": 1, "alarm": 2, "retrain": 3}
    values = {"texts": content["window"]["texts"], "requests": content["window"]["requests"]}
    values |= {"verdict": gravity[content["verdict"]]} if content["verdict"] else {}
    for finding in content["findings"]:
        name = f"{finding['measure']}/{finding['against'].replace(' ', '_')}"
        values |= {f"{name}/effect": finding["effect"], f"{name}/p": finding["corrected"]}
    return [Metric(f"monitor/{name}", float(value), now, number) for name, value in values.items()]


@mlflow_errors
def log_reference(settings: Settings, run_id: str, folder: Path) -> None:
    """Keep what a model did on rows that it never learned from, with the run that made it."""
    place_of(settings, run_id).upload(folder, REFERENCE)


@mlflow_errors
def fetch_reference(settings: Settings, run_id: str, target: Path) -> bool:
    """Fetch the reference that a run has left into `target`; False where it left none."""
    return _fetch(settings, run_id, REFERENCE, target)


@mlflow_errors
def fetch_predictions(settings: Settings, run_id: str, target: Path) -> bool:
    """Fetch the frozen rows of a run, with what was said about them, as the file `target`; False where it left none."""
    with temporary_folder() as scratch:
        folder = scratch / "evaluation"
        if not _fetch(settings, run_id, "evaluation", folder) or not (folder / "predictions.parquet").exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((folder / "predictions.parquet").read_bytes())
    return True


def _fetch(settings: Settings, run_id: str, path: str, target: Path) -> bool:
    from mlflow.artifacts import download_artifacts, list_artifacts

    with artifact_errors(settings):
        if not list_artifacts(run_id=run_id, artifact_path=path, tracking_uri=settings.tracking_uri):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
            fetched = download_artifacts(
                run_id=run_id, artifact_path=path, dst_path=scratch, tracking_uri=settings.tracking_uri
            )
            try:
                Path(fetched).rename(target)
            except OSError as error:
                if not target.exists():
                    raise RegistryError(f"{target} cannot be written: {error.strerror}.", "make room there.") from error
    return True
