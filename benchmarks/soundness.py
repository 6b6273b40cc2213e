"""Whether an installation is whole while nothing is at work: aliases, ledger, bundle, MLflow's runs, locks, processes;
and what it takes of the disk.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from installation import Installation
from weekly_deliveries import NAME

from components import registry, tracking
from components.errors import ProjectError
from components.registry.ledger import champion_moves, events_of
from components.registry.seals import examine_ledger
from components.registry.single_flight import single_flight
from components.registry.store import open_store
from components.registry.versions import aliases_of
from components.serving.bundling import find_bundle
from components.serving.releases import read_release
from components.tracking.runs import TRAIN_DIGEST

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is live, how often that moved, and how much the registry has; all 0 before the first champion."""

    champion: int
    events: int
    versions: int


def ledger_of(installation: Installation) -> Ledger:
    """The champion's version, its moves that were done, and registered versions."""
    settings = installation.settings
    live, moves = registry.champion(settings, NAME), champion_moves(events_of(open_store(settings), NAME))
    return Ledger(live.version if live else 0, len(moves), len(registry.versions(settings, NAME)))


def problems(installation: Installation) -> list[str]:
    """What is half done or left behind, in sentences; none where all is whole."""
    try:
        return [
            *_in_the_registry(installation),
            *_on_the_disk(installation),
            *_in_mlflow(installation),
            *_left_at_work(installation),
        ]
    except ProjectError as error:
        return [f"It cannot be looked at: {error.problem}"]


def _in_the_registry(installation: Installation) -> Iterator[str]:
    settings, client = installation.settings, open_store(installation.settings)
    yield from examine_ledger(settings, NAME)
    events = events_of(client, NAME)
    yield from (f"Entry {event.number} of the ledger was never closed." for event in events if event.state == "intent")
    known = registry.versions(settings, NAME)
    doubles = [digest for digest, count in Counter(version.digest for version in known).items() if count > 1]
    yield from (f"Model {digest[:12]} has two versions." for digest in doubles)
    aliases = aliases_of(client, NAME)
    if "challenger" in aliases:
        yield f"Version {aliases['challenger']} is still the challenger."
    moves = champion_moves(events)
    if moves and aliases.get("champion") != moves[-1].after:
        yield f"The ledger says that version {moves[-1].after} is live, the alias says {aliases.get('champion')}."


def _on_the_disk(installation: Installation) -> Iterator[str]:
    settings = installation.settings
    live, release = registry.champion(settings, NAME), read_release(settings, NAME)
    if live is None:
        return
    if release is None or release.version != live.version:
        yield f"Version {live.version} is live, and the endpoint is told of {release and release.version}."
    elif find_bundle(settings, live) != release:
        yield f"The bundle {release.tag} is gone, or holds another model than version {live.version}."
    scratch = settings.home / "scratch"
    yield from (
        f"{path} was left behind." for path in (scratch.rglob("*") if scratch.exists() else ()) if path.is_file()
    )


def _in_mlflow(installation: Installation) -> Iterator[str]:
    client = open_store(installation.settings)
    yield from (f"MLflow run {run.run_id} is open." for run in tracking.open_runs(installation.settings))
    experiment = client.get_experiment_by_name(NAME)
    if experiment is None:
        return
    for model in client.search_logged_models([experiment.experiment_id]):
        if str(model.status) != "READY":
            yield f"Model {model.model_id} in MLflow is {model.status}."
    digests = Counter(run.data.tags.get(TRAIN_DIGEST) for run in client.search_runs([experiment.experiment_id]))
    yield from (
        f"One training has {count} runs in MLflow." for digest, count in digests.items() if digest and count > 1
    )


def _left_at_work(installation: Installation) -> Iterator[str]:
    try:
        with single_flight(installation.settings, NAME):
            pass
    except ProjectError as error:
        yield f"The model's lock is held: {error.problem}"
    for part in ("run", "computing"):
        yield from (f"Process {process.pid} of a {part} is left." for process in installation.processes(part))
    ours = _descendants()
    for process in installation.all_processes():
        if process.pid not in ours and process.pid != os.getpid():
            with suppress(psutil.Error):
                yield f"Process {process.pid} belongs to nobody: {' '.join(process.cmdline())[:100]}"


def _descendants() -> set[int]:
    top = psutil.Process()
    return {process.pid for process in (top, *top.children(recursive=True))}


def disk(installation: Installation) -> dict[str, float]:
    """MiB by what they are for."""
    home = installation.home
    places = {
        "steps": home / "steps",
        "bundles": home / "bentoml",
        "fetched models": home / "models",
        "MLflow's artifacts": home / "mlflow",
        "Prefect's results": home / "prefect",
        "logs": home / "logs",
        "temporary files": installation.temporary,
    }
    sizes = {name: _size(place) for name, place in places.items()}
    sizes["all else in the home"] = _size(home) - sum(size for name, size in sizes.items() if name != "temporary files")
    for name in ("prefect", "mlflow"):
        sizes[f"database of {name}"] = float(installation.sql(name, f"SELECT pg_database_size('{name}')")[0][0])
    return {name: round(size / MEBIBYTE, 2) for name, size in sizes.items()}


def _size(folder: Path) -> float:
    total = 0.0
    for place, _folders, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += (Path(place) / file).lstat().st_size
    return total
