"""Versions that nobody needs any more, and how they go: the version, its logged model and its files together.

Needed are versions with an alias, versions that the ledger names, base models of other versions, and the newest. Runs
stay with their numbers and pictures: what happened is never removed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from components.records import RegisteredVersion
from components.registry import ledger
from components.registry.store import mlflow_errors, open_store
from components.registry.versions import aliases_of, record_of, registry_lock, search
from components.settings import Settings

Versions = list[RegisteredVersion]
THROUGH_SERVER = "mlflow-artifacts:"  # files that MLflow's server reads, writes and deletes for its clients


@mlflow_errors
def needed_versions(settings: Settings, name: str, keep: int) -> tuple[Versions, Versions]:
    """The versions of a model that are needed, and the others, each the oldest first.

    Args:
        keep: how many of the newest are needed whatever became of them.
    """
    client = open_store(settings)
    aliases = aliases_of(client, name)
    # A version that was judged and refused is in the ledger too, and may go all the same.
    events = [event for event in ledger.events_of(client, name) if event.alias == "champion"]
    named = {*aliases.values(), *(event.after for event in events), *(event.before for event in events)}
    found = [record_of(client, version, aliases=aliases) for version in search(client, f"name='{name}'")]
    named |= _bases(client, name)
    named |= {version.version for version in found[max(0, len(found) - keep) :]}
    needed = [version for version in found if version.version in named]
    return needed, [version for version in found if version.version not in named]


def _bases(client: Any, name: str) -> set[int]:
    """The versions that a run file has named by their number as `model.base` of a model that is there."""
    start = f"models:/{name}/"
    specs = (version.tags["base_model"] for version in search(client, f"tags.base_model LIKE '{start}%'"))
    numbers = (spec.removeprefix(start) for spec in specs)
    return {int(number) for number in numbers if number.isdigit()}


@mlflow_errors
def version_files(settings: Settings, version: RegisteredVersion) -> Path | None:
    """The folder of a version's files; None where an MLflow server keeps them."""
    return local_files(
        settings, open_store(settings).get_model_version_download_uri(version.name, str(version.version))
    )


@mlflow_errors
def delete_version(settings: Settings, version: RegisteredVersion) -> None:
    """Take a version, its model and its files out of MLflow, also where a server keeps them.

    The version goes last, so that after a kill all of it is found again. Files in a store that clients write themselves
    (an experiment of `s3://…` and not `mlflow-artifacts:/…`) stay for `mlflow gc`.
    """
    client = open_store(settings)
    number = str(version.version)
    with registry_lock(settings, version.name):
        source = client.get_model_version(version.name, number).source
        for model in _logged_models(client, version, source.removeprefix("models:/")):
            client.delete_logged_model(model.model_id)
        _delete_files(settings, client.get_model_version_download_uri(version.name, number))
        client.delete_model_version(version.name, number)


def _logged_models(client: Any, version: RegisteredVersion, model_id: str) -> list[Any]:
    """The logged model of a version, in a list; an empty one where it is gone already."""
    experiment = client.get_run(version.run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"model_id = '{model_id}'"))


def delete_upload(client: Any, settings: Settings, model: Any) -> None:
    """Delete a logged model with its files, which MLflow itself leaves to a `mlflow gc` that nobody runs."""
    _delete_files(settings, model.artifact_location)
    client.delete_logged_model(model.model_id)


def _delete_files(settings: Settings, uri: str) -> None:
    """Delete what is at an address of artifacts; what is gone already is no error."""
    place = local_files(settings, uri)
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)
    elif uri.startswith(THROUGH_SERVER):
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        files = get_artifact_repository(uri, tracking_uri=settings.tracking_uri)
        if files.list_artifacts():
            files.delete_artifacts()


def local_files(settings: Settings, uri: str) -> Path | None:
    """The folder that an address of artifacts names, if it is the embedded store's."""
    place = Path(uri.removeprefix("file://"))
    return place if place.is_relative_to(settings.artifacts) else None
