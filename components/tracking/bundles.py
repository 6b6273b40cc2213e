"""What is served of a run: the engines that were tried, the one that was taken, the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from components.errors import BundleError
from components.models.engines import read_facts
from components.records import Bundle, OptimisedModel
from components.registry.store import mlflow_errors, open_store
from components.serving.releases import RELEASE, Release
from components.settings import Settings
from components.tracking.places import artifact_errors, place_of


@mlflow_errors
def log_engines(settings: Settings, run_id: str, model: OptimisedModel) -> None:
    """Say what each engine that was tried came to, and keep the one that was taken: no other run can build it again."""
    place = place_of(settings, run_id)
    measured = ("score", "loss", "milliseconds", "rows_per_second", "megabytes", "largest_difference")
    place.metrics(
        {f"engine/{trial.engine}/{name}": getattr(trial, name) for trial in model.trials for name in measured}
    )
    place.client.set_tag(run_id, "engine", model.engine)
    with artifact_errors(settings):
        place.client.log_artifact(run_id, str(model.folder / "engines.json"), "engine")
        if model.engine_folder:
            place.client.log_artifacts(run_id, str(model.engine_folder), "engine/built")


@mlflow_errors
def fetch_engine(settings: Settings, run_id: str, model_digest: str) -> Path | None:
    """The built engine that a run has left, below `settings.models`; None where it left none or another model's."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    folder = settings.models / f"engine-{run_id}"
    with artifact_errors(settings):
        if not folder.exists():
            if not list_artifacts(run_id=run_id, artifact_path="engine/built", tracking_uri=settings.tracking_uri):
                return None
            settings.models.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=settings.models, prefix=".engine-") as scratch:
                fetched = download_artifacts(
                    run_id=run_id,
                    artifact_path="engine/built",
                    dst_path=scratch,
                    tracking_uri=settings.tracking_uri,
                )
                Path(fetched).rename(folder)
    try:
        return folder if read_facts(folder).model_digest == model_digest else None
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
        return None


@mlflow_errors
def log_bundle(settings: Settings, run_id: str, bundle: Bundle) -> None:
    """Name the bundle that was made of a run's model, and keep what it says: it may be built again elsewhere."""
    client = open_store(settings)
    client.set_tag(run_id, "bundle", bundle.tag)
    with artifact_errors(settings):
        client.log_artifact(run_id, str(bundle.path / "src" / RELEASE), "bundle")


@mlflow_errors
def fetch_release(settings: Settings, run_id: str) -> Release | None:
    """What the bundle of a run says of itself; None where the run has left nothing that can be read."""
    from mlflow.artifacts import list_artifacts, load_text

    place = open_store(settings).get_run(run_id).info.artifact_uri
    with artifact_errors(settings):
        if not list_artifacts(run_id=run_id, artifact_path="bundle", tracking_uri=settings.tracking_uri):
            return None
        text = load_text(f"{place}/bundle/{RELEASE}")
    try:
        return Release.model_validate_json(text)
    except ValidationError:  # of another version of rebert
        return None


@mlflow_errors
def was_bundled(settings: Settings, run_id: str) -> bool:
    """Whether a bundle was made of a run's model; of a base model that was pretrained none is."""
    return "bundle" in open_store(settings).get_run(run_id).data.tags
