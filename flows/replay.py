"""`rebert replay`: a registered version made again, and whether it is the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from components import registry
from components.recipes import Recipe
from components.records import RegisteredVersion, as_json
from components.replaying import Kitchen, Replay, replay
from components.settings import Settings
from components.step_store import storage_errors
from components.tracking import read_recipe
from components.training.devices import choose_device
from flows import console
from flows.job import find_base_model

SAME, DIFFERENT = 0, 3


def replay_version(
    name: str, number: int, settings: Settings, tolerance: float, anyway: bool, as_json_object: bool
) -> int:
    """Make a version again in a folder that goes afterwards, and print the verdict.

    Returns:
        The exit code: 0 where it is the same or as good, 3 where it is another.

    Raises:
        ProjectError: there is no such version, or something that it was made from is not here.
    """
    version = registry.get_version(settings, name, number)
    recipe, commit = read_recipe(settings, version)
    found = _replay(recipe, commit, version, settings, tolerance, anyway)
    if as_json_object:
        console.print_json({"model": name, "version": number, **as_json(found)})
    else:
        _print(found, version)
    return DIFFERENT if found.outcome == "different" else SAME


def _replay(
    recipe: Recipe, commit: str, version: RegisteredVersion, settings: Settings, tolerance: float, anyway: bool
) -> Replay:
    config = recipe.run_config()
    base = find_base_model(settings, recipe.base, recipe.folder, config.model.sha256)
    choice = choose_device(config.training)
    registered = registry.fetch_model(settings, version)
    listener = console.ConsoleListener()
    scratch = settings.home / "scratch"
    with storage_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch, prefix=f"replay-{version.name}-") as place:
            kitchen = Kitchen(
                settings,
                base,
                hardware=f"{choice.device} {choice.precision}",
                folder=Path(place),
                log=lambda text: console.say(f"  {text}"),
                commit=commit,
                anyway=anyway,
                progress=lambda now: listener.progressed("fine_tune", now.share, now.text),
            )
            try:
                return replay(recipe, registered, kitchen, tolerance)
            finally:
                listener.close()


def _print(found: Replay, version: RegisteredVersion) -> None:
    console.print_text(f"{found.outcome}: {found.reason}")
    for difference in found.differences:
        console.print_text(f"  Not as it was: {difference}")
    if found.outcome != "identical":
        console.say(
            f"Recorded {found.recorded_digest[:16]}, made again {found.digest[:16]}, version {version.version}."
        )
