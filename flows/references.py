"""The monitor's reference of a version: made when it is bundled, found again when it is watched."""

from __future__ import annotations

from pathlib import Path

from components.digests import digest_code, digest_once
from components.errors import BundleError
from components.monitoring.reference import FOLDER, Reference, make_reference, read_reference
from components.records import OptimisedModel, RegisteredVersion, ValidatedDataset
from components.serving.releases import read_release, reference_of
from components.settings import Settings
from components.step_store import Step, temporary_folder
from flows import console
from flows.job import Job


def measure_reference(
    job: Job, version: RegisteredVersion, dataset: ValidatedDataset, optimised: OptimisedModel
) -> Reference:
    """What the engine that will serve says about the frozen rows, measured as the endpoint measures; told to MLflow."""
    from components import registry, tracking
    from components.monitoring.reference_process import make_reference_in_process

    def work(folder: Path) -> Reference:
        model, built = registry.fetch_model(job.settings, version), optimised.engine_folder
        rows = dataset.split_file("test")
        return make_reference_in_process(job.process, model, optimised.engine, built, rows, folder)

    parts = {
        "model": version.digest,
        "engine": optimised.engine,
        "frozen rows": digest_once(dataset.split_file("test")),
        "code": digest_code("components.monitoring.reference", f"components.task_types.{job.config.task_type}"),
    }
    step = Step("reference", job.config.name, parts)
    found = read_reference(optimised.folder / FOLDER) or job.store.find(step, Reference) or job.store.run(step, work)
    tracking.log_reference(job.settings, version.run_id, found.folder)
    return found


def find_reference(settings: Settings, version: RegisteredVersion) -> Reference | None:
    """The reference of a version: from its bundle or its run, else made now from the frozen rows of its run.

    None where its run has left neither; that is no mistake of anybody.

    Raises:
        StorageError: it is damaged, or the disk is full.
        RegistryError: MLflow does not give what it holds.
    """
    from components.registry import reference_folder
    from components.tracking import fetch_predictions, fetch_reference

    known = _of_bundle(settings, version)
    folder = reference_folder(settings, version)
    if known is None and (folder.exists() or fetch_reference(settings, version.run_id, folder)):
        known = read_reference(folder)
    if known is not None:
        return known
    with temporary_folder() as scratch:
        rows = scratch / "rows.parquet"
        return _make(settings, version, rows, folder) if fetch_predictions(settings, version.run_id, rows) else None


def _of_bundle(settings: Settings, version: RegisteredVersion) -> Reference | None:
    try:
        bundle = read_release(settings, version.name)
    except BundleError:
        return None
    if bundle is None or bundle.model_digest != version.digest:
        return None
    folder = reference_of(bundle.path / "src")
    return read_reference(folder) if folder else None


def _make(settings: Settings, version: RegisteredVersion, rows: Path, folder: Path) -> Reference:
    """The reference of a version that was bundled before there were any, by the engine that it is served with."""
    from components import registry
    from components.models.inference import open_predictor
    from components.tracking import fetch_engine
    from components.training.devices import usable_threads

    console.say(f"Version {version.version} was made without a reference; it is made of its frozen rows now.")
    model = registry.fetch_model(settings, version)
    engine = fetch_engine(settings, version.run_id, version.digest)
    predictor = open_predictor(model, engine, usable_threads())
    return make_reference(predictor, model, "built" if engine else "torch", rows, folder)
