"""Bundles: a model version, the code that serves it and its pinned requirements, as a Bento in the local store.

The Bento is built in a private folder by a child process whose only project code is what goes into it, so that a
missing file shows here and not in production; it appears in the store in one rename.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from components.config import RunConfig, Serving
from components.digests import SOURCE_ROOT, digest_file, digest_files, digest_of, project_sources
from components.errors import BundleError
from components.models.engines import find_engine, read_facts
from components.models.model_directory import model_digest, verify_model
from components.records import Bundle, RegisteredVersion
from components.serving.bento_build import build, copy_files, publish, room, stage
from components.serving.releases import (
    ENGINE,
    MODEL,
    REFERENCE,
    UNPROVEN,
    Evidence,
    Kept,
    Release,
    digest_of_engine,
    engine_of,
    read_bundle_release,
    verify_engine,
)
from components.serving.requirements import pinned_requirements
from components.settings import Settings


def build_bundle(
    settings: Settings, config: RunConfig, version: RegisteredVersion, model: Path, release: Evidence
) -> Bundle:
    """A Bento `name:VERSION-CONTENT` that serves a registered version; the one in the store where it is there already.

    A new one is found by `find_bundle` only once `prove_bundle` has proven it.

    Args:
        settings: where the store is.
        config: name, description and serving limits.
        version: the registered version that is bundled.
        model: its model directory; it is copied.
        release: scores and the reason of the decision, shown by the endpoint.

    Raises:
        BundleError: the model directory is damaged, or BentoML cannot build from it.
        StorageError: the disk is full, or a folder cannot be written.
    """
    facts = _facts(config, version, model, release)
    return _bundle_of(settings, facts, model, release.engine, release.reference, proven=False)


def find_bundle(settings: Settings, version: RegisteredVersion) -> Bundle | None:
    """The newest bundle of a registered version in the store of which no proof is outstanding."""
    for path in _newest_first(settings, version.name, f"{version.version}-*"):
        facts = _facts_of(path)
        if facts and facts.model_digest == version.digest and not (path / UNPROVEN).exists():
            return Bundle(f"{version.name}:{path.name}", path.resolve(), version.version, version.digest)
    return None


def rebuild_bundle(settings: Settings, version: RegisteredVersion, model: Path, kept: Kept) -> Bundle:
    """A bundle of a version that the store lost, or never had on this machine.

    It says what the first one said. Where the run has left nothing of that, its limits are those of the newest bundle
    of the same model, or the defaults.

    Args:
        settings: where the store is.
        version: the registered version that is bundled.
        model: its model directory.
        kept: what its run has left; torch serves where that holds no engine.

    Raises:
        BundleError: the model directory is damaged, or BentoML cannot build from it.
        StorageError: the disk is full, or a folder cannot be written.
    """
    said = kept.release or _like_the_newest(settings, version)
    own = {
        "version": version.version,
        "run_id": version.run_id,
        "model_digest": version.digest,
        "engine": _engine_name(kept.engine),
        "engine_digest": digest_of_engine(kept.engine),
    }
    return _bundle_of(settings, said.model_copy(update=own), model, kept.engine, kept.reference)


def _like_the_newest(settings: Settings, version: RegisteredVersion) -> Release:
    others = (facts for path in _newest_first(settings, version.name, "*") if (facts := _facts_of(path)))
    like = next(others, None)
    return Release(
        name=version.name,
        version=version.version,
        run_id=version.run_id,
        model_digest=version.digest,
        description=like.description if like else "",
        metrics={},
        decision="",
        serving=like.serving if like else Serving(),
    )


def _newest_first(settings: Settings, name: str, pattern: str) -> list[Path]:
    found = (settings.bento_home / "bentos" / name).glob(pattern)
    return sorted((path for path in found if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)


def _facts_of(bundle: Path) -> Release | None:
    try:
        return read_bundle_release(bundle / "src")
    except BundleError:
        return None


def _engine_name(engine: Path | None) -> str:
    return read_facts(engine).engine if engine else "torch"


def _bundle_of(
    settings: Settings,
    facts: Release,
    model: Path,
    engine: Path | None,
    reference: Path | None = None,
    *,
    proven: bool = True,
) -> Bundle:
    verify_model(model)
    sources, requirements = bundle_sources(), pinned_requirements(facts.engine)
    content = digest_of([facts.model_dump(mode="json"), _digests(sources), requirements])
    tag = f"{facts.name}:{facts.version}-{content[:12]}"
    path = settings.bento_home / "bentos" / tag.replace(":", "/")
    bundle = Bundle(tag, path.resolve(), facts.version, facts.model_digest)
    if _is_whole(bundle, facts):
        return bundle
    with room(settings) as place:
        staging = place / "staging"
        stage(staging, sources, facts)
        built = build(replace(settings, bento_home=place / "home"), staging, tag, facts.description, requirements)
        copy_files(model, built / "src" / MODEL, with_weights=needs_weights(facts.engine))
        if engine:
            copy_files(engine, built / "src" / ENGINE)
        if reference:
            copy_files(reference, built / "src" / REFERENCE)
        verify_bundle(built / "src")
        if not proven:
            (built / UNPROVEN).touch()
        publish(built, bundle.path)
    return bundle


def _facts(config: RunConfig, version: RegisteredVersion, model: Path, release: Evidence) -> Release:
    return Release(
        name=config.name,
        version=version.version,
        run_id=version.run_id,
        model_digest=model_digest(model),
        description=config.description,
        metrics=release.metrics,
        decision=release.decision,
        serving=config.serving,
        engine=_engine_name(release.engine),
        engine_digest=digest_of_engine(release.engine),
        trials=release.trials,
    )


def needs_weights(engine: str) -> bool:
    """Whether a bundle with this engine holds torch's weights."""
    return find_engine(engine).reads_weights


def verify_bundle(source: Path) -> None:
    """Compare every file of the model and of the engine in a bundle's `src` folder with its digest.

    Raises:
        BundleError: a file is missing, changed, or was added.
    """
    verify_model(source / MODEL, with_weights=needs_weights(read_bundle_release(source).engine))
    if engine := engine_of(source):
        read_facts(engine)
    verify_engine(source, read_bundle_release(source))


def bundle_sources() -> dict[str, Path]:
    """The project's files that travel in a bundle: the service and what it imports, by path below `src`."""
    folders = ("service", "service/schemas", "components/task_types", "components/models/engines")
    files = [path for folder in folders for path in sorted((SOURCE_ROOT / folder).glob("*.py"))]
    page = sorted((SOURCE_ROOT / "service" / "page").iterdir())
    return {
        **project_sources(*(_module(path) for path in files)),
        **{f"service/page/{path.name}": path for path in page},
    }


def _module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE_ROOT).with_suffix("").parts).removesuffix(".__init__")


def _digests(sources: Mapping[str, Path]) -> dict[str, str]:
    return {name: digest_file(path) for name, path in sources.items()}


def _is_whole(bundle: Bundle, facts: Release) -> bool:
    """Whether the store has this bundle undamaged; a damaged one is removed, to be built again."""
    if not bundle.path.exists():
        return False
    try:
        verify_bundle(bundle.path / "src")
        if read_bundle_release(bundle.path / "src") == facts and _sources_are_whole(bundle.path / "src"):
            return True
    except BundleError:
        pass
    shutil.rmtree(bundle.path)
    return False


def _sources_are_whole(source: Path) -> bool:
    expected = bundle_sources()
    there = [source / name for name in expected]
    return all(path.is_file() for path in there) and digest_files(there, source) == _digests(expected)
