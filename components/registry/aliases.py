"""Aliases: `challenger` is being judged, `champion` is live, `previous` is what a rollback goes back to.

MLflow moves one alias at a time and asks no questions. The order here (intent, previous, champion, done) leaves at
every point either the old champion or the new one live, and the next call sets the rest right.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from components.errors import RegistryError
from components.records import PromotionDecision, RegisteredVersion
from components.registry import ledger
from components.registry.ledger import LedgerEvent
from components.registry.ledger_numbers import numbers_of
from components.registry.seals import anchor
from components.registry.store import mlflow_errors, open_store
from components.registry.versions import ROLLED_BACK, aliases_of, get_version, registry_lock
from components.settings import Settings

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@mlflow_errors
def set_challenger(settings: Settings, name: str, version: int) -> None:
    """Point the alias `challenger` to a version, and write that down; where it is there already, nothing happens."""
    client = open_store(settings)
    with registry_lock(settings, name):
        events = _recover(client, name)
        before = aliases_of(client, name).get(CHALLENGER)
        if before == version:
            return
        run_id = get_version(settings, name, version).run_id
        event = ledger.new_event(
            events,
            "challenge",
            before=before,
            after=version,
            why=f"Version {version} is to be judged.",
            run_id=run_id,
            alias="challenger",
        )
        _move_challenger(client, name, ledger.write_event(client, name, event))


@mlflow_errors
def retire_challenger(
    settings: Settings, name: str, version: int, decision: PromotionDecision | None = None, *, late: str = ""
) -> None:
    """Take the alias `challenger` from a version that was refused, if it still has it, and write down why.

    Args:
        decision: the gate's, about this version.
        late: why it was not approved, of one that waited; that is written down also where another is judged by now.
    """
    client = open_store(settings)
    with registry_lock(settings, name):
        events = _recover(client, name)
        judged = aliases_of(client, name).get(CHALLENGER)
        if judged != version and not late:
            return
        event = ledger.new_event(
            events,
            "refuse",
            before=version,
            after=None if judged == version else judged,
            why=late or (decision.reason if decision else ""),
            run_id=get_version(settings, name, version).run_id,
            numbers=numbers_of(decision) if decision else None,
            alias="challenger",
        )
        _move_challenger(client, name, ledger.write_event(client, name, event))


def _move_challenger(client: Any, name: str, event: LedgerEvent) -> None:
    _point(client, name, CHALLENGER, event.after)
    closed = ledger.close_event(client, name, event, "done")
    about = event.before if event.action == "refuse" else event.after
    if about is not None:
        anchor(client, name, about, closed)


@mlflow_errors
def settle(settings: Settings, name: str) -> None:
    """Complete or abandon a move of the champion whose process was killed, so that ledger and aliases are right."""
    client = open_store(settings)
    if any(event.state == "intent" for event in ledger.events_of(client, name)):
        with registry_lock(settings, name):
            _recover(client, name)


@mlflow_errors
def promote(
    settings: Settings, name: str, version: int, decision: PromotionDecision, *, after_rollback: bool = False
) -> LedgerEvent:
    """Make a version the champion, if that is still the one it was compared with; a second call changes nothing.

    Args:
        decision: why; its reason and numbers go into the ledger, and its champion has to be live.
        after_rollback: also where a person had taken this version back.

    Raises:
        RegistryError: there is no such version, it was rolled back, or another champion is live by now.
    """
    wanted = get_version(settings, name, version)
    client = open_store(settings)
    with registry_lock(settings, name):
        events = _recover(client, name)
        live = aliases_of(client, name).get(CHAMPION)
        last = next(reversed(ledger.champion_moves(events)), None)
        if live == version and last and last.after == version:
            return last
        if ROLLED_BACK in wanted.tags and not after_rollback:
            raise _was_rolled_back(wanted)
        if live not in (decision.champion_version, version):
            raise RegistryError(
                f"The champion of '{name}' changed to {f'version {live}' if live else 'none'} "
                "while this run was at work.",
                "run again; the finished steps are reused.",
            )
        before = (
            live if live != version else (last.after if last else None)
        )  # a person may have moved the alias by hand
        event = ledger.new_event(
            events,
            "promote",
            before=before,
            after=version,
            why=decision.reason,
            run_id=wanted.run_id,
            numbers=numbers_of(decision),
        )
        return _carry_out(client, name, ledger.write_event(client, name, event), events)


@mlflow_errors
def rollback_target(settings: Settings, name: str, to_version: int | None = None) -> RegisteredVersion:
    """The version that a rollback would make live, so that it can be ready before the alias moves.

    Args:
        to_version: as for `rollback`.

    Raises:
        RegistryError: as `rollback` does.
    """
    settle(settings, name)
    client = open_store(settings)
    live = aliases_of(client, name).get(CHAMPION)
    return get_version(settings, name, _target(name, ledger.events_of(client, name), live, to_version))


@mlflow_errors
def rollback(settings: Settings, name: str, to_version: int | None = None, *, reason: str) -> LedgerEvent:
    """Make an earlier champion live again.

    Args:
        to_version: which; None is the one before the champion that has not itself been taken back.
        reason: why, for the ledger and the next run.

    Raises:
        RegistryError: there is nothing to go back to, or that version was never live.
    """
    client = open_store(settings)
    with registry_lock(settings, name):
        events = _recover(client, name)
        live = aliases_of(client, name).get(CHAMPION)
        target = _target(name, events, live, to_version)
        run_id = get_version(settings, name, target).run_id
        event = ledger.new_event(events, "rollback", before=live, after=target, why=reason, run_id=run_id)
        return _carry_out(client, name, ledger.write_event(client, name, event), events)


def _target(name: str, events: list[LedgerEvent], live: int | None, wanted: int | None) -> int:
    if live is None:
        raise RegistryError(f"'{name}' has no champion.", "run its run file first.")
    target = ledger.version_before(events, live) if wanted is None else wanted
    champions = sorted({event.after for event in ledger.champion_moves(events) if event.after} - {live})
    if target is None:
        raise RegistryError(
            f"There is no version of '{name}' to go back to from version {live}.",
            f"name one that has been live: {', '.join(map(str, champions))}." if champions else "train another model.",
        )
    if target not in champions:
        raise RegistryError(
            f"Version {target} of '{name}' is live now."
            if target == live
            else f"Version {target} of '{name}' has never been live.",
            f"name one that has: {', '.join(map(str, champions))}." if champions else "train another model.",
        )
    return target


def _carry_out(client: Any, name: str, event: LedgerEvent, earlier: list[LedgerEvent]) -> LedgerEvent:
    """Move the aliases as an event says, and close it."""
    done = [*earlier, replace(event, state="done")]
    _point(client, name, PREVIOUS, ledger.version_before(done, event.after) if event.after else None)
    _point(client, name, CHAMPION, event.after)
    _finish(client, name, event)
    closed = ledger.close_event(client, name, event, "done")
    if event.after is not None:
        anchor(client, name, event.after, closed)
    ledger.tell_story(client, name)
    return closed


def _finish(client: Any, name: str, event: LedgerEvent) -> None:
    """What follows once the champion has moved: tags for people, and the challenger that is none any more."""
    if aliases_of(client, name).get(CHALLENGER) == event.after:
        client.delete_registered_model_alias(name, CHALLENGER)
    if event.action == "rollback" and event.before is not None:
        left = json.dumps({"who": event.who, "when": event.time, "why": event.why}, ensure_ascii=False)
        client.set_model_version_tag(name, str(event.before), ROLLED_BACK, left)
    if ROLLED_BACK in client.get_model_version(name, str(event.after)).tags:
        client.delete_model_version_tag(name, str(event.after), ROLLED_BACK)


def _recover(client: Any, name: str) -> list[LedgerEvent]:
    """The ledger, after an event whose process died on the way was completed or abandoned."""
    events = ledger.events_of(client, name)
    for position, event in enumerate(events):
        if event.state != "intent":
            continue
        earlier = events[:position]
        if event.alias == CHALLENGER:
            moved = aliases_of(client, name).get(CHALLENGER) == event.after
            events[position] = ledger.close_event(client, name, event, "done" if moved else "abandoned")
        elif aliases_of(client, name).get(CHAMPION) == event.after:
            events[position] = _carry_out(client, name, event, earlier)
        else:
            _point(client, name, PREVIOUS, event.before and ledger.version_before(earlier, event.before))
            events[position] = ledger.close_event(client, name, event, "abandoned")
    return events


def _point(client: Any, name: str, alias: str, version: int | None) -> None:
    if version is not None:
        client.set_registered_model_alias(name, alias, str(version))
    elif alias in aliases_of(client, name):
        client.delete_registered_model_alias(name, alias)


def _was_rolled_back(version: RegisteredVersion) -> RegistryError:
    story = json.loads(version.tags[ROLLED_BACK])
    return RegistryError(
        f"Version {version.version} of '{version.name}' was rolled back by {story['who']} at {story['when']}: "
        f"{story['why']}",
        "train on new data; or promote this version by hand, if it was right after all.",
    )
