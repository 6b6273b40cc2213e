"""Files outside a bundle that its endpoint follows or writes, and the variables that name them to its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from components.settings import Settings


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one endpoint; it does without those that are None.

    `release` names the bundle that is served, `trial` one that is tried beside it, `keys` holds the hashes of the API
    keys; `feedback` and `requests` are written, a line a correction and a line a request, and `trial_end` when the
    endpoint ends a trial. With `keys_required` nobody is admitted while there is no file of keys.
    """

    release: Path | None = None
    trial: Path | None = None
    keys: Path | None = None
    feedback: Path | None = None
    requests: Path | None = None
    trial_end: Path | None = None
    keys_required: bool = False


VARIABLES = {
    "release": "REBERT_RELEASE_FILE",
    "trial": "REBERT_TRIAL_FILE",
    "keys": "REBERT_KEYS_FILE",
    "feedback": "REBERT_FEEDBACK_FILE",
    "requests": "REBERT_REQUEST_LOG",
    "trial_end": "REBERT_TRIAL_END_FILE",
}
KEYS_REQUIRED = "REBERT_KEYS_REQUIRED"


def trial_file(settings: Settings, name: str) -> Path:
    """The file that names what is tried beside the live version of a model."""
    return settings.trials / f"{name}.json"


def trial_ends(settings: Settings, name: str) -> tuple[Path, Path]:
    """Where the endpoint of a model may have written that it has ended a trial: here, or in a container of its own."""
    return settings.trials / f"{name}.ended.json", settings.feedback / f"{name}.ended.json"


def feedback_file(settings: Settings, name: str) -> Path:
    """The file with the corrections that the endpoint of a model was sent."""
    return settings.feedback / f"{name}.jsonl"


def places_of(settings: Settings, name: str) -> Places:
    """Where `rebert serve` keeps the files of a model's endpoint."""
    return Places(
        release=settings.releases / f"{name}.json",
        trial=trial_file(settings, name),
        keys=settings.keys,
        feedback=feedback_file(settings, name),
        requests=settings.home / "logs" / f"requests-{name}.jsonl",
    )


def read_places(environment: Mapping[str, str]) -> Places:
    """The files that the variables of an endpoint's process name."""
    named = {name: Path(path) for name, variable in VARIABLES.items() if (path := environment.get(variable))}
    return replace(Places(), **named, keys_required=environment.get(KEYS_REQUIRED) == "1")


def environment_of_places(places: Places) -> dict[str, str]:
    """The variables that name these files."""
    named = {variable: str(path) for name, variable in VARIABLES.items() if (path := getattr(places, name))}
    return named | ({KEYS_REQUIRED: "1"} if places.keys_required else {})
