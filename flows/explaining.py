"""`rebert explain`: why a version was promoted or refused, what the ledger says of it, and why it is not live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.errors import RegistryError
from components.records import RegisteredVersion, as_json
from components.settings import Settings
from flows import console
from flows.history import minute_of, move_in_words

if TYPE_CHECKING:
    from components.registry import LedgerEvent
    from components.tracking import Rejection


def explain_decision(name: str, settings: Settings, version: int | None, as_json_object: bool) -> None:
    """Why a version was promoted or refused, and what the ledger says of it."""
    from components import registry
    from components.reports.decision_words import decision_in_words
    from components.tracking import last_rejection, read_decision

    rejection = last_rejection(settings, name) if version is None else None
    if rejection and not registry.versions(settings, name):
        _explain_first_rejection(name, rejection, as_json_object)
        return
    chosen = chosen_version(name, settings, version)
    decision = read_decision(settings, chosen.run_id)
    events = [e for e in registry.read_moves(settings, name) if chosen.version in (e.before, e.after)]
    if as_json_object:
        ledger = [as_json(event) for event in events]
        facts = {"model": name, "version": chosen.version, "run_id": chosen.run_id, "aliases": chosen.aliases}
        rejected = as_json(rejection) if rejection else None
        console.print_json({**facts, "decision": decision, "ledger": ledger, "last_delivery_rejected": rejected})
        return
    if rejection:
        console.print_text(f"{_in_words(rejection)} Before that:\n")
    aliases = f" ({', '.join(chosen.aliases)})" if chosen.aliases else ""
    console.print_text(f"{name} version {chosen.version}{aliases}, MLflow run {chosen.run_id}\n")
    if decision is None:
        console.print_text("Nothing has been decided about it: its run ended before the gate. Run its run file again.")
    else:
        console.print_markdown(decision_in_words(decision))
        if decision["promote"] and not any(e.alias == "champion" and e.after == chosen.version for e in events):
            console.print_text(_why_not_live(name, settings, chosen.version, events))
    if events:
        console.print_table("ledger (UTC)", ("when", "move", "why"), [_row(e) for e in events])


def _row(event: LedgerEvent) -> tuple[str, ...]:
    return minute_of(event), move_in_words(event), event.why


def _explain_first_rejection(name: str, rejection: Rejection, as_json_object: bool) -> None:
    """All that there is to say of a model of which nothing but stopped deliveries is known."""
    if as_json_object:
        none = {"version": None, "run_id": None, "aliases": (), "decision": None, "ledger": ()}
        console.print_json({"model": name, **none, "last_delivery_rejected": as_json(rejection)})
        return
    console.print_text(f"{_in_words(rejection)}\nNo version of '{name}' has been made yet.")


def _in_words(rejection: Rejection) -> str:
    return (
        f"The last delivery, {rejection.time[:16]} UTC, was rejected: {rejection.reason}\n"
        f"Its report is in MLflow run {rejection.run_id}."
    )


def _why_not_live(name: str, settings: Settings, version: int, events: Sequence[LedgerEvent]) -> str:
    """What became of a version that has passed the gate and was never live."""
    from components import registry

    for waiting in registry.waiting_versions(settings, name):
        if waiting.version == version:
            return f"It waits for approval until {waiting.until[:16].replace('T', ' ')} UTC, or has waited in vain."
    late = [event.why for event in events if event.action == "refuse" and event.before == version]
    if late:
        return f"{late[-1]} Run its run file again."
    return "It has passed the gate and never went live: its run ended before that. Run its run file again."


def chosen_version(name: str, settings: Settings, version: int | None) -> RegisteredVersion:
    """The version that a command names, or the newest.

    Raises:
        RegistryError: there is none.
    """
    from components import registry

    if version is not None:
        return registry.get_version(settings, name, version)
    found: Sequence[RegisteredVersion] = registry.versions(settings, name)
    if not found:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(
            f"There is no model '{name}'; registered are: {known}.", "name one of them, or run its run file."
        )
    return found[0]
