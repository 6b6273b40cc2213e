"""What a bundle says about itself (`release.json`), and the file that says which bundle a model's endpoint serves.

In a bundle: `src/release.json`, `src/model/` (the model directory), `src/service/`, `src/components/`.
Outside: `releases/NAME.json`, a `Bundle` as JSON, replaced in one step; a running endpoint watches it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.config import Serving
from components.digests import canonical, digest_file
from components.errors import BundleError
from components.models.engines.base import FACTS
from components.records import Bundle, EngineTrial, as_json
from components.settings import Settings
from components.step_store import storage_errors, write_whole

RELEASE = "release.json"
MODEL = "model"
ENGINE = "engine"  # a built engine; torch has none
REFERENCE = "reference"  # what the monitor compares with
UNPROVEN = "unproven"  # lies beside `src` until the bundle has been proven


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a version goes live: its scores on the frozen rows, the reason of the decision, in one sentence, the engines.

    `engine` is the folder of the built one that it is served with, None for torch; `reference` that of what the monitor
    compares with.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    decision: str = ""
    engine: Path | None = None
    trials: tuple[EngineTrial, ...] = ()
    reference: Path | None = None


class Release(BaseModel):
    """What `release.json` in a bundle says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    run_id: str
    model_digest: str
    description: str
    metrics: Mapping[str, float]
    decision: str
    serving: Serving
    engine: str = "torch"
    engine_digest: str = ""  # of the built engine's facts, which hold those of its files; older releases have none
    trials: tuple[EngineTrial, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run has left of its version's bundle for those that build it again; None where it left none.

    `engine` and `reference` are the folders of `Evidence`.
    """

    release: Release | None = None
    engine: Path | None = None
    reference: Path | None = None


def read_bundle_release(source: Path) -> Release:
    """What the bundle says whose `src` folder is given.

    Raises:
        BundleError: `release.json` is missing or damaged.
    """
    path = source / RELEASE
    try:
        return Release.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{source} holds no {RELEASE}.", "name a bundle that a run has built.") from error
    except ValidationError as error:
        raise BundleError(f"{path} is damaged or of another version of rebert.", "build the bundle again.") from error


def engine_of(source: Path) -> Path | None:
    """The built engine of the bundle whose `src` folder is given."""
    return path if (path := source / ENGINE).is_dir() else None


def verify_engine(source: Path, release: Release) -> None:
    """Compare what a bundle's built engine says of its files with what the release says of the engine.

    Raises:
        BundleError: the engine is another one.
    """
    if release.engine_digest and release.engine_digest != digest_of_engine(engine_of(source)):
        raise BundleError(f"The engine in {source} is not the one that its release names.", "build the bundle again.")


def digest_of_engine(engine: Path | None) -> str:
    """What a release says of a built engine; nothing of none."""
    facts = engine / FACTS if engine else None
    return digest_file(facts) if facts and facts.is_file() else ""


def reference_of(source: Path) -> Path | None:
    """What the monitor compares with, in the bundle whose `src` folder is given; older ones have none."""
    return path if (path := source / REFERENCE).is_dir() else None


def release_file(settings: Settings, name: str) -> Path:
    """The file that says which bundle the endpoint of a model serves."""
    return settings.releases / f"{name}.json"


def write_release(settings: Settings, name: str, bundle: Bundle) -> Path:
    """Let the endpoint of a model serve this bundle; a running one swaps within a second.

    Raises:
        StorageError: the file cannot be written.
    """
    path = release_file(settings, name)
    with storage_errors(path):
        write_whole(path, canonical(as_json(bundle)))
    return path


def read_release(settings: Settings, name: str) -> Bundle | None:
    """The bundle that the endpoint of a model should serve; None before the first.

    Raises:
        BundleError: the file is damaged.
    """
    path = release_file(settings, name)
    return read_release_file(path) if path.exists() else None


def read_release_file(path: Path) -> Bundle:
    """The bundle that a release file names.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return Bundle(**{**content, "path": Path(content["path"]), "version": int(content["version"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path} does not name a bundle.", "promote a version again; that writes it anew.") from error
