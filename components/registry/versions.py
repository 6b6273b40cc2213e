"""Versions of registered models: one for each model content, found again by its digest.

A version's number, aliases and tags are MLflow's; its weights are a model directory inside an MLflow model.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.errors import BundleError, ConfigError, RegistryError
from components.models.model_directory import MANIFEST, model_digest, verify_model
from components.records import RegisteredVersion
from components.registry.ledger import champion_moves, events_of
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings
from components.step_store import storage_errors

DIGEST = "rebert.model_digest"
LABELS = "rebert.labels"
ROLLED_BACK = "rebert.rolled_back"
PAGE = 1000
ADDRESS = re.compile(r"models:/([^/@]+)(?:@([a-z]+)|/(\d+))")
FOLDER_DIGEST = 16  # characters of a digest that name a folder


@mlflow_errors
def versions(settings: Settings, name: str) -> list[RegisteredVersion]:
    """All versions of a model, the newest first; none when nothing is registered under that name."""
    client = open_store(settings)
    aliases = aliases_of(client, name)
    found = search(client, f"name='{name}'")
    return [record_of(client, version, aliases=aliases) for version in reversed(found)]


@mlflow_errors
def find_version(settings: Settings, name: str, digest: str) -> RegisteredVersion | None:
    """The version that holds the model of that digest."""
    client = open_store(settings)
    found = with_digest(client, name, digest)
    return record_of(client, found[0]) if found else None


@mlflow_errors
def get_version(settings: Settings, name: str, version: int) -> RegisteredVersion:
    """A version by its number.

    Raises:
        RegistryError: there is none.
    """
    client = open_store(settings)
    found = search(client, f"name='{name}'")
    for candidate in found:
        if int(candidate.version) == version:
            return record_of(client, candidate)
    known = ", ".join(str(candidate.version) for candidate in found[-10:])
    raise RegistryError(
        f"'{name}' has no version {version}.", f"name one of: {known}." if known else f"run the run file of '{name}'."
    )


@mlflow_errors
def with_alias(settings: Settings, name: str, alias: str) -> RegisteredVersion | None:
    """The version that an alias (champion, challenger, previous) points to, or None."""
    client = open_store(settings)
    number = aliases_of(client, name).get(alias)
    return get_version(settings, name, number) if number else None


def find_by_address(settings: Settings, address: str) -> RegisteredVersion:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names.

    Raises:
        ConfigError: the address is written otherwise.
        RegistryError: there is no such version.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigError(
            f"'{address}' names no registered model.", "write models:/NAME@champion or models:/NAME/VERSION."
        )
    name, alias, number = match.groups()
    if number:
        return get_version(settings, name, int(number))
    found = with_alias(settings, name, alias)
    if found is None:
        known = ", ".join(list_models(settings)) or "none"
        raise RegistryError(f"No version of '{name}' is its {alias}; models here: {known}.", f"make '{name}' first.")
    return found


def champion(settings: Settings, name: str) -> RegisteredVersion | None:
    """The version that is live, or None before the first."""
    return with_alias(settings, name, "champion")


@mlflow_errors
def best_accepted(settings: Settings, name: str, metric: str) -> RegisteredVersion | None:
    """Of the versions that were ever promoted and not taken back, the one with the highest score when it was.

    Returns:
        None before the first, and where it is the one that is live.
    """
    client = open_store(settings)
    live = aliases_of(client, name).get("champion")
    scores = {
        event.after: event.numbers["candidate_score"]
        for event in champion_moves(events_of(client, name))
        if event.action == "promote" and event.numbers.get("metric") == metric
    }
    standing = [version for version in search(client, f"name='{name}'") if ROLLED_BACK not in version.tags]
    accepted = [version for version in standing if int(version.version) in scores]
    best = max(accepted, key=lambda version: (scores[int(version.version)], int(version.version)), default=None)
    return None if best is None or int(best.version) == live else record_of(client, best)


@mlflow_errors
def rolled_back(settings: Settings, name: str) -> dict[str, str]:
    """Why each model that was taken back was: by model digest."""
    found = search(open_store(settings), f"name='{name}'")
    return {
        version.tags[DIGEST]: str(json.loads(version.tags[ROLLED_BACK])["why"])
        for version in found
        if ROLLED_BACK in version.tags
    }


@mlflow_errors
def list_models(settings: Settings) -> list[str]:
    """Names of all registered models that are ours."""
    found = open_store(settings).search_registered_models(max_results=PAGE)
    return sorted(model.name for model in found if "rebert.task_type" in model.tags)


@mlflow_errors
def fetch_model(settings: Settings, version: RegisteredVersion) -> Path:
    """The model directory of a version, whole and verified, below `settings.models`; not fetched twice.

    Raises:
        RegistryError: what MLflow holds is not what was registered.
        StorageError: the disk is full.
    """
    folder = fetched_folder(settings, version)
    if _holds(folder, version.digest):
        return folder
    from mlflow.artifacts import download_artifacts

    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            # The whole version: MLflow 3.17 does not find single files of a logged model by its models:/ address.
            download_artifacts(
                artifact_uri=f"models:/{version.name}/{version.version}",
                dst_path=scratch,
                tracking_uri=settings.tracking_uri,
            )
            fetched = next((path.parent for path in Path(scratch).glob(f"data/*/{MANIFEST}")), None)
            if fetched is None or not _holds(fetched, version.digest):
                raise RegistryError(
                    f"What MLflow holds as version {version.version} of '{version.name}' is not what was registered.",
                    "restore its artifacts, or run the run file again to register it anew.",
                )
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)
    return folder


def fetched_folder(settings: Settings, version: RegisteredVersion) -> Path:
    """Where the model directory of a version is, once it has been fetched."""
    return settings.models / version.digest[:FOLDER_DIGEST]


def reference_folder(settings: Settings, version: RegisteredVersion) -> Path:
    """Where the monitor's reference of a version is, once it has been fetched or made."""
    return settings.models / f"reference-{version.digest[:FOLDER_DIGEST]}"


@contextmanager
def registry_lock(settings: Settings, name: str) -> Iterator[None]:
    """One process of this machine at a time changes the versions and aliases of a model."""
    from filelock import FileLock

    with storage_errors(settings.locks):
        settings.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.locks / f"{name}.registry.lock"):
            yield


def _holds(folder: Path, digest: str) -> bool:
    try:
        verify_model(folder)
    except BundleError:
        return False
    return model_digest(folder) == digest


def search(client: Any, query: str) -> list[Any]:
    """Our model versions in the order of their numbers."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(query, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            ours = [version for version in found if DIGEST in version.tags]  # a person may have added others by hand
            return sorted(ours, key=lambda version: int(version.version))


def with_digest(client: Any, name: str, digest: str) -> list[Any]:
    return search(client, f"name='{name}' and tags.`{DIGEST}`='{digest}'")


def aliases_of(client: Any, name: str) -> dict[str, int]:
    found = client.search_registered_models(f"name='{name}'")
    return {alias: int(number) for alias, number in found[0].aliases.items()} if found else {}


def record_of(
    client: Any, version: Any, *, created: bool = False, aliases: Mapping[str, int] | None = None
) -> RegisteredVersion:
    known = aliases_of(client, version.name) if aliases is None else aliases
    return RegisteredVersion(
        name=version.name,
        version=int(version.version),
        run_id=version.run_id,
        digest=version.tags[DIGEST],
        created=created,
        aliases=tuple(sorted(alias for alias, number in known.items() if number == int(version.version))),
        tags=dict(version.tags),
    )
