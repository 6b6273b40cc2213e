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
    """Take a version and its model out of MLflow; a server removes the files of deleted models with `mlflow gc`.

    The version goes last, so that after a kill all of it is found again.
    """
    client = open_store(settings)
    with registry_lock(settings, version.name):
        source = client.get_model_version(version.name, str(version.version)).source
        for model in _logged_models(client, version, source.removeprefix("models:/")):
            delete_upload(client, settings, model)
        client.delete_model_version(version.name, str(version.version))


def _logged_models(client: Any, version: RegisteredVersion, model_id: str) -> list[Any]:
    """The logged model of a version, in a list; an empty one where it is gone already."""
    experiment = client.get_run(version.run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"model_id = '{model_id}'"))


def delete_upload(client: Any, settings: Settings, model: Any) -> None:
    """Delete a logged model; MLflow itself leaves its files to `mlflow gc`, which embedded nobody runs."""
    client.delete_logged_model(model.model_id)
    place = local_files(settings, model.artifact_location)
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)


def local_files(settings: Settings, uri: str) -> Path | None:
    """The folder that an address of artifacts names, if it is the embedded store's."""
    place = Path(uri.removeprefix("file://"))
    return place if place.is_relative_to(settings.artifacts) else None
