"""Approval by a person: a version that has passed the gate waits, and goes live when somebody says so in time.

That it waits, since when and until when, stands in a tag of the version; who approved it and why, in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from components.errors import RegistryError
from components.records import PromotionDecision, RegisteredVersion
from components.registry.aliases import promote, retire_challenger
from components.registry.ledger import LedgerEvent, who_is_it
from components.registry.store import mlflow_errors, open_store
from components.registry.versions import get_version, registry_lock, versions
from components.settings import Settings

WAITING = "rebert.waiting"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A version that a person has to approve; `since` and `until` are ISO 8601 in UTC, `reason` is the gate's."""

    version: int
    since: str
    until: str
    reason: str

    @property
    def is_over(self) -> bool:
        return datetime.now(UTC) > datetime.fromisoformat(self.until)


@mlflow_errors
def ask_for_approval(
    settings: Settings, name: str, version: int, decision: PromotionDecision, *, days: float
) -> Waiting:
    """Let a version wait for a person; one that waits already goes on as it does."""
    waiting = next((each for each in waiting_versions(settings, name) if each.version == version), None)
    if waiting is not None and not waiting.is_over:
        return waiting
    now = datetime.now(UTC)
    until = now + timedelta(days=days)
    waiting = Waiting(version, now.isoformat(timespec="seconds"), until.isoformat(timespec="seconds"), decision.reason)
    text = json.dumps(asdict(waiting), ensure_ascii=False)
    open_store(settings).set_model_version_tag(name, str(version), WAITING, text)
    return waiting


def waiting_versions(settings: Settings, name: str) -> list[Waiting]:
    """The versions that wait or have waited in vain, the newest first."""
    found = versions(settings, name)
    return [Waiting(**json.loads(each.tags[WAITING])) for each in found if WAITING in each.tags]


def waiting_models(settings: Settings, name: str) -> dict[str, str]:
    """Until when each model that waits may be approved: by model digest."""
    digests = {each.version: each.digest for each in versions(settings, name)}
    found = waiting_versions(settings, name)
    return {digests[each.version]: _minute(each.until) for each in found if not each.is_over}


def require_waiting(settings: Settings, name: str, version: int) -> Waiting:
    """That a version waits for approval, and still may be approved.

    Raises:
        RegistryError: it does not, or its time is over.
    """
    found = waiting_versions(settings, name)
    waiting = next((each for each in found if each.version == version), None)
    if waiting is None:
        get_version(settings, name, version)
        raise RegistryError(
            f"Version {version} of '{name}' does not wait for approval.", _what_waits(found) or "run its run file."
        )
    if waiting.is_over:
        raise RegistryError(
            f"Version {version} of '{name}' could be approved until {_minute(waiting.until)}; "
            "what it was compared with may be old by now.",
            "run its run file again: finished steps are reused, and it waits anew.",
        )
    return waiting


def approve(settings: Settings, name: str, version: int, decision: PromotionDecision, *, reason: str) -> LedgerEvent:
    """Make a version that waits the champion, with the reason of the person who approved it.

    It goes on waiting until `stop_waiting`, so that what follows can be done again after a failure in between.

    Args:
        decision: the gate's, about this version.

    Raises:
        RegistryError: it does not wait, its time is over, or another champion is live by now.
    """
    require_waiting(settings, name, version)
    why = f"Approved by {who_is_it()}: {reason} {decision.reason}"
    return promote(settings, name, version, replace(decision, reason=why))


@mlflow_errors
def stop_waiting(settings: Settings, name: str, version: int) -> None:
    """Take a version off the list of those that wait, if it is on it."""
    client: Any = open_store(settings)
    with registry_lock(settings, name):
        if WAITING in client.get_model_version(name, str(version)).tags:
            client.delete_model_version_tag(name, str(version), WAITING)


def expire(settings: Settings, name: str) -> list[tuple[RegisteredVersion, str]]:
    """Refuse what nobody has approved in time: an entry of the ledger for each, and it waits no more.

    Returns:
        The versions and why they are refused.
    """
    over = [waiting for waiting in waiting_versions(settings, name) if waiting.is_over]
    found = []
    for waiting in over:
        why = f"Not approved in time: it waited from {_minute(waiting.since)} to {_minute(waiting.until)}."
        retire_challenger(settings, name, waiting.version, late=why)
        stop_waiting(settings, name, waiting.version)
        found.append((get_version(settings, name, waiting.version), why))
    return found


def _what_waits(found: Iterable[Waiting]) -> str:
    waiting = [f"version {each.version} until {_minute(each.until)}" for each in found if not each.is_over]
    return f"approve one that does: {', '.join(waiting)}." if waiting else ""


def _minute(time: str) -> str:
    return f"{time[:16].replace('T', ' ')} UTC"
