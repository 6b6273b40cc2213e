"""Building a Bento beside the store and moving it there in one step: a reader sees all of it or nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.digests import canonical
from components.errors import BundleError
from components.models.model_directory import is_weights
from components.serving.releases import RELEASE, Release
from components.settings import Settings, environment_of, without_secrets
from components.step_store import storage_errors

SERVICE = "service.endpoint:Endpoint"
BUILD_SECONDS = 300


@contextmanager
def room(settings: Settings) -> Iterator[Path]:
    """A private folder on the store's disk that is gone afterwards, whatever happens."""
    with storage_errors(settings.bento_home):
        settings.bento_home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=settings.bento_home) as folder:
            yield Path(folder).resolve()


def stage(staging: Path, sources: Mapping[str, Path], facts: Release) -> None:
    """What a bundle is built from: the project's files and what the release says."""
    for name, path in sources.items():
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (staging / RELEASE).write_text(canonical(facts.model_dump(mode="json")), encoding="utf-8")


BUILD = """
import json, sys
# An editable installation would lend the modules that the bundle lacks.
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(finder)]
import bentoml
order = json.load(sys.stdin)
try:
    import service.endpoint  # BentoML alone would not say what is missing
    bentoml.bentos.build(
        order["service"], name=order["name"], version=order["version"], build_ctx=order["staging"],
        description=order["description"], labels=order["labels"],
        python={"packages": order["requirements"], "lock_packages": False},
    )
except Exception as error:
    sys.exit(f"{type(error).__name__}: {str(error).splitlines()[0]}")
"""


def build(settings: Settings, staging: Path, tag: str, description: str, requirements: Iterable[str]) -> Path:
    """The folder of the Bento that BentoML has built, in a process of its own that knows no secrets.

    Raises:
        BundleError: BentoML says why it cannot.
    """
    name, _, version = tag.partition(":")
    order = {
        "service": SERVICE,
        "name": name,
        "version": version,
        "staging": str(staging),
        "description": f"{description or name}\n",
        "labels": {"built-by": "rebert"},
        "requirements": list(requirements),
    }
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=staging,
        env=without_secrets({**os.environ, **environment_of(settings)}),
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    built = settings.bento_home / "bentos" / name / version
    if done.returncode or not (built / "bento.yaml").is_file():
        reason = (done.stderr.strip() or "no output").splitlines()[-1]
        raise BundleError(f"BentoML cannot build {tag}: {reason}", "run 'rebert doctor'; if it is fine, report this.")
    return built


def copy_files(folder: Path, target: Path, *, with_weights: bool = True) -> None:
    """Copy a folder, all of it or without torch's weights."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):  # copytree would hide a full disk
        if with_weights or not is_weights(path.name):
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def publish(built: Path, target: Path) -> None:
    """Move the Bento into the store in one step; whoever was there first has the same content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        built.rename(target)
    except OSError:
        if not (target / "bento.yaml").is_file():
            raise
    latest = target.parent / ".latest.new"
    latest.write_text(target.name, encoding="utf-8")
    latest.replace(target.parent / "latest")
