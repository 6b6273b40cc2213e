"""Registration: a model directory in, its one version in MLflow out, however often and from wherever it is asked for.

MLflow gives a new version to every call. Here a lock holds off the other processes of this machine, the digest tag
finds what is registered, and where another machine was faster the lower version stays and the double goes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from time import time
from typing import Any

from components.models.model_directory import Manifest, model_digest, verify_model
from components.records import EvaluationReport, RegisteredVersion
from components.registry.packaging import upload_model
from components.registry.removal import delete_upload
from components.registry.store import mlflow_errors, open_store
from components.registry.versions import DIGEST, LABELS, record_of, registry_lock, with_digest
from components.reports.model_card import without_header
from components.settings import Settings

LONGEST_DESCRIPTION = 5000  # characters in MLflow's database
SHORT_DIGEST = 16  # characters of a digest that MLflow shows beside a data set; at most 36
ABANDONED_SECONDS = 24 * 3600  # an upload that began so long ago on another machine is not going on


@mlflow_errors
def register_model(
    settings: Settings, run_id: str, folder: Path, *, report: EvaluationReport | None = None, card: str = ""
) -> RegisteredVersion:
    """The registered version of a model directory: made now, or found when this content has one.

    Args:
        run_id: MLflow run that trained it.
        folder: the model directory; its manifest names the registered model.
        report: its scores on the frozen rows, which MLflow then shows beside the model.
        card: the model card, which becomes the version's description.

    Raises:
        BundleError: a file of the directory is missing or changed.
        RegistryError: MLflow does not answer, or refuses.
        StorageError: the disk is full.
    """
    manifest, digest = verify_model(folder), model_digest(folder)
    client = open_store(settings)
    with registry_lock(settings, manifest.name):
        found = with_digest(client, manifest.name, digest)
        if found:
            return record_of(client, found[0])
        _ensure_registered_model(client, manifest)
        model_id = _logged_model(client, settings, run_id, folder, manifest)
        if report is not None:
            log_scores(client, run_id, report, model_id)
        created = client.create_model_version(
            manifest.name,
            f"models:/{model_id}",
            run_id,
            _tags(manifest, digest, report),
            description=without_header(card)[:LONGEST_DESCRIPTION],
            model_id=model_id,
        )
        kept = _without_doubles(client, manifest.name, digest)
        named = [{"name": manifest.name, "version": int(kept.version)}]  # a link that MLflow's own log_model makes
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(named)})
        return record_of(client, kept, created=kept.version == created.version)


def log_scores(client: Any, run_id: str, report: EvaluationReport, model_id: str | None = None) -> None:
    """Send the scores on the frozen rows; the same time each time, so that a second call adds nothing."""
    from mlflow.entities import Metric

    when = int((report.folder / "report.json").stat().st_mtime * 1000)
    frozen = {"dataset_name": "test", "dataset_digest": report.test_digest[:SHORT_DIGEST]}
    metrics = [
        Metric(f"test/{name}", value, when, 0, model_id=model_id, **frozen) for name, value in report.metrics.items()
    ]
    client.log_batch(run_id, metrics)


def _ensure_registered_model(client: Any, manifest: Manifest) -> None:
    from mlflow.exceptions import MlflowException

    tags = {"rebert.task_type": manifest.task_type}
    try:
        client.create_registered_model(manifest.name, tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(client: Any, settings: Settings, run_id: str, folder: Path, manifest: Manifest) -> str:
    """The id of a whole uploaded model of this content; what an interrupted try has left is taken away."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    digest = model_digest(folder)
    experiment = client.get_run(run_id).info.experiment_id
    whole = None
    for model in _uploads(client, experiment):
        if model.status == LoggedModelStatus.READY:
            whole = whole or (model if model.tags.get(DIGEST) == digest else None)
        elif _is_abandoned(settings, model):  # of whatever content: the data may be others by now
            delete_upload(client, settings, model)
    if whole is not None:
        return str(whole.model_id)
    tags = {DIGEST: digest, "rebert.machine": _machine(settings)}
    model = client.create_logged_model(
        experiment, f"{manifest.name}-{digest[:8]}", run_id, tags, model_type=manifest.task_type
    )
    scratch = settings.home / "scratch" / manifest.name
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed: we hold the lock
    upload_model(client, model, folder, manifest, scratch)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _uploads(client: Any, experiment: str) -> list[Any]:
    """All logged models of an experiment, also those that were never finished."""
    page = client.search_logged_models([experiment])
    found = list(page)
    while page.token:
        page = client.search_logged_models([experiment], page_token=page.token)
        found += page
    return found


def _is_abandoned(settings: Settings, model: Any) -> bool:
    """Whether an upload that is not finished will never be: on this machine the lock says that nobody is at it."""
    here = model.tags.get("rebert.machine") == _machine(settings)
    return bool(here or time() - model.creation_timestamp / 1000 > ABANDONED_SECONDS)


def _machine(settings: Settings) -> str:
    """What shares the registry lock: a host and its home folder."""
    from socket import gethostname

    return f"{gethostname()}:{settings.home}"


def _without_doubles(client: Any, name: str, digest: str) -> Any:
    """The lowest version of this content, once the others are gone."""
    from mlflow.exceptions import MlflowException

    kept, *doubles = with_digest(client, name, digest)
    for version in doubles:
        try:
            client.delete_model_version(name, version.version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the machine that made it was faster
                raise
    return kept


def _tags(manifest: Manifest, digest: str, report: EvaluationReport | None) -> dict[str, str]:
    """What a person compares first, then what the code reads."""
    tags = {}
    if report is not None:
        tags["score"] = f"{report.primary_metric} {report.metrics[report.primary_metric]:.4f} on {report.rows:,} rows"
    return tags | {
        "base_model": manifest.base_model,
        "train_rows": f"{manifest.train_rows:,}",
        "labels": str(len(manifest.labels)),
        DIGEST: digest,
        LABELS: json.dumps(manifest.labels, ensure_ascii=False),
        "rebert.task_type": manifest.task_type,
        "rebert.data_digest": manifest.data_digest,
        "rebert.code_digest": manifest.code_digest,
    }
