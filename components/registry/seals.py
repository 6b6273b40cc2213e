"""Seals: what makes it visible that somebody has changed, removed or slipped in an entry of the ledger.

Each entry holds the digest of the one before it, and when it is closed its own: whoever changes an old entry would have
to write all later ones anew. The newest about a version also stands in a tag of that version, so that the end of the
ledger cannot go unnoticed, refusals included. Whoever may write everything in MLflow can still forge everything: a seal
is no signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from components.registry.ledger import LedgerEvent, aliases_at, champion_moves, events_of, seal_of
from components.registry.store import mlflow_errors, open_store
from components.registry.versions import aliases_of, search
from components.settings import Settings

ANCHOR = "rebert.ledger_entry"  # tag of a version: number and seal of the newest entry about it


def anchor(client: Any, name: str, version: int, event: LedgerEvent) -> None:
    """Let the version that an entry is about name the entry."""
    text = json.dumps({"number": event.number, "seal": event.seal})
    client.set_model_version_tag(name, str(version), ANCHOR, text)


@mlflow_errors
def examine_ledger(settings: Settings, name: str) -> list[str]:
    """What is wrong with a model's ledger, in sentences; none where it is whole and the alias is where it says."""
    client = open_store(settings)
    anchors = {
        int(version.version): json.loads(version.tags[ANCHOR])
        for version in search(client, f"name='{name}'")
        if ANCHOR in version.tags
    }
    return list(problems_of(events_of(client, name), anchors, aliases_of(client, name)))


def problems_of(
    events: Sequence[LedgerEvent],
    anchors: Mapping[int, Mapping[str, Any]],
    aliases: Mapping[str, int],
) -> Iterator[str]:
    """What is wrong with entries in their order.

    Args:
        anchors: number and seal that each version names, by version.
        aliases: the version that has each alias.
    """
    yield from _each_alone(events)
    for before, event in pairwise(events):
        if event.number != before.number + 1:
            yield f"Between entry {before.number} and entry {event.number} something was removed."
        elif event.previous and event.previous != (before.seal or seal_of(before)):
            yield f"Entry {event.number} does not follow from entry {before.number}: one of the two was replaced."
    known = {event.number: event.seal for event in events}
    for version, named in sorted(anchors.items()):
        if known.get(named["number"]) != named["seal"]:
            yield f"Entry {named['number']}, the newest about version {version}, is gone or was replaced."
    if any(event.state == "intent" for event in events):
        return  # a process is at it, or was: the next command settles it
    yield from _moved_by_hand(events, aliases)


def _moved_by_hand(events: Sequence[LedgerEvent], aliases: Mapping[str, int]) -> Iterator[str]:
    done, champion = champion_moves(events), aliases.get("champion")
    if done and champion != done[-1].after:
        yield (
            f"The alias champion is at {f'version {champion}' if champion else 'no version'}, but entry "
            f"{done[-1].number} moved it to version {done[-1].after}: somebody has moved it by hand."
        )
    told = aliases_at(events)
    written = {"challenger": any(event.alias == "challenger" for event in events), "previous": bool(done)}
    for alias in (alias for alias, known in written.items() if known and aliases.get(alias) != told[alias]):
        there, here = (f"version {each}" if each else "no version" for each in (told[alias], aliases.get(alias)))
        yield f"The alias {alias} is at {here}, but the ledger says {there}: somebody has moved it by hand."


def _each_alone(events: Sequence[LedgerEvent]) -> Iterator[str]:
    if events and events[0].number != 1:
        yield f"The ledger begins with entry {events[0].number}: what was before is gone."
    begun = False  # entries from before there were seals have none
    for event in events:
        if event.seal and event.seal != seal_of(event):
            yield f"Entry {event.number} was changed after it was written."
        elif not event.seal and (begun or event.previous) and event.state != "intent":
            yield f"Entry {event.number} has lost its seal."
        begun = begun or bool(event.seal)
