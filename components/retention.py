"""What weeks of runs leave behind and nobody needs any more: finished steps, bundles, fetched models, versions.

Kept are the champion, the previous one, whatever else has an alias or stands in the ledger, what is on trial, and the
newest. A step that is removed costs at most its work again; a version that was ever live is never removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import time

from components.data.feedback import SNAPSHOTS
from components.records import RegisteredVersion
from components.registry import delete_version, fetched_folder, needed_versions, reference_folder, version_files
from components.serving.places import trial_file
from components.serving.releases import read_release
from components.serving.trials import read_trial
from components.settings import Settings
from components.step_store import MARKER

ABANDONED_SECONDS = 7 * 86400.0  # an interrupted step may be gone on with for so long


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing to remove: what it is, its name, its bytes on this disk (0 where a server has them), and its place."""

    kind: str
    name: str
    size: int
    place: Path | None = None
    version: RegisteredVersion | None = None


def find_removable(settings: Settings, name: str, keep: int) -> list[Removal]:
    """What can go of one model.

    Args:
        keep: newest versions, and of each kind of step the most recently used, that stay whatever became of them.

    Raises:
        RegistryError: MLflow does not say which versions are needed.
    """
    trial = read_trial(trial_file(settings, name))
    needed, others = needed_versions(settings, name, keep)
    others = [version for version in others if trial is None or version.version != trial.version]
    kept = {version.version for version in needed} | ({trial.version} if trial else set())
    return [
        *_old_steps(settings.steps / name, keep),
        *_old_feedback(settings.feedback / SNAPSHOTS / name, keep),
        *_old_bundles(settings, name, kept),
        *_fetched_copies(settings, others),
        *(_version(settings, each) for each in others),  # last: by them the rest is found
    ]


def remove(settings: Settings, removals: Iterable[Removal]) -> None:
    """Remove things one after the other; what a kill leaves is found again the next time."""
    for removal in removals:
        if removal.version is not None:
            delete_version(settings, removal.version)
        elif removal.place is not None:
            shutil.rmtree(removal.place, ignore_errors=True)


def _old_steps(folder: Path, keep: int) -> list[Removal]:
    """Steps that were not used lately, and interrupted ones that nobody went on with."""
    found = []
    for kind in sorted(path for path in folder.glob("*") if path.is_dir()):
        finished = [path for path in kind.iterdir() if (path / MARKER).is_file()]
        newest = sorted(finished, key=lambda path: (path / MARKER).stat().st_mtime, reverse=True)
        torn = [path for path in kind.iterdir() if path.is_dir() and path not in finished]
        abandoned = [path for path in torn if time() - path.stat().st_mtime > ABANDONED_SECONDS]
        found += [
            Removal("step", f"{kind.name} {path.name}", _size(path), path) for path in [*newest[keep:], *abandoned]
        ]
    return found


def _old_feedback(folder: Path, keep: int) -> list[Removal]:
    """Copies of corrections that no later run has read; what was sent stays."""
    copies = [path for path in folder.glob("*") if path.is_dir()]
    newest = sorted(copies, key=lambda path: path.stat().st_mtime, reverse=True)
    return [Removal("feedback", path.name, _size(path), path) for path in newest[keep:]]


def _old_bundles(settings: Settings, name: str, kept: set[int]) -> list[Removal]:
    """Bundles of versions that are not kept; never one that is served."""
    served = read_release(settings, name)
    found = []
    for path in sorted((settings.bento_home / "bentos" / name).glob("*-*")):  # VERSION-DIGEST
        number = path.name.partition("-")[0]
        if number.isdigit() and int(number) not in kept and (served is None or path != served.path):
            found.append(Removal("bundle", f"{name}:{path.name}", _size(path), path))
    return found


def _fetched_copies(settings: Settings, versions: Iterable[RegisteredVersion]) -> list[Removal]:
    folders = (
        (version, folder_of(settings, version))
        for version in versions
        for folder_of in (fetched_folder, reference_folder)
    )
    return [
        Removal("copy", f"{version.name} {version.version}", _size(folder), folder)
        for version, folder in folders
        if folder.is_dir()
    ]


def _version(settings: Settings, version: RegisteredVersion) -> Removal:
    files = version_files(settings, version)
    return Removal("version", f"{version.name} {version.version}", _size(files), version=version)


def _size(folder: Path | None) -> int:
    if folder is None:
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
