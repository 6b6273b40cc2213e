"""A version on trial beside the live one: the file that names it, and the file that says how it ended.

`trials/NAME.json` is written by the command line and followed by running endpoints; `NAME.ended.json`, beside it or
where `REBERT_TRIAL_END_FILE` says, is written by an endpoint that has ended the trial by itself, so that it does not
begin again with the next start.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.digests import canonical
from components.errors import BundleError
from components.records import Bundle
from components.step_store import storage_errors, write_whole

Mode = Literal["shadow", "canary"]


class Trial(BaseModel):
    """What is tried: a shadow answers copies of requests, a canary answers requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str
    path: Path
    version: int
    model_digest: str
    mode: Mode
    share: float = Field(gt=0, le=1)
    started: datetime

    @property
    def bundle(self) -> Bundle:
        return Bundle(self.tag, self.path, self.version, self.model_digest)


class EndedTrial(BaseModel):
    """How an endpoint ended a trial; `started` says which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    started: datetime
    ended: datetime
    reason: str


def begin_trial(path: Path, bundle: Bundle, mode: Mode, share: float) -> Trial:
    """Have the endpoint try a bundle; a running one begins within a second of having loaded it.

    Args:
        path: the file of the trial.
        bundle: what is tried.
        mode: whether its answers are only compared, or given.
        share: of the requests that it gets.

    Raises:
        StorageError: the file cannot be written.
    """
    trial = Trial(
        tag=bundle.tag,
        path=bundle.path,
        version=bundle.version,
        model_digest=bundle.model_digest,
        mode=mode,
        share=share,
        started=datetime.now(UTC),
    )
    with storage_errors(path):
        write_whole(path, canonical(trial.model_dump(mode="json")))
    return trial


def end_trial(path: Path) -> Trial | None:
    """Have the endpoint end its trial; returns what was tried.

    Raises:
        StorageError: the file cannot be removed.
    """
    try:
        trial = read_trial(path)
    except BundleError:  # damaged: it goes too
        trial = None
    with storage_errors(path):
        path.unlink(missing_ok=True)
    return trial


def read_trial(path: Path) -> Trial | None:
    """What shall be tried; None where nothing is.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        return Trial.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} does not name a trial.", "begin the trial again; that writes it anew.") from error


def note_end(place: Path, trial: Trial, reason: str) -> None:
    """Write down in this file that an endpoint has ended a trial by itself.

    Raises:
        StorageError: the file cannot be written.
    """
    ended = EndedTrial(version=trial.version, started=trial.started, ended=datetime.now(UTC), reason=reason)
    with storage_errors(place):
        write_whole(place, canonical(ended.model_dump(mode="json")))


def how_it_ended(place: Path, trial: Trial) -> EndedTrial | None:
    """How an endpoint has ended this trial, by the file of its end; None where it goes on."""
    try:
        ended = EndedTrial.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None
    return ended if ended.started == trial.started else None


def end_file(path: Path) -> Path:
    """Where the end of a trial is written unless another place is named: beside the file of the trial."""
    return path.with_suffix(".ended.json")
