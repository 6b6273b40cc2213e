"""`rebert history`: what was live when, who moved it and why, by what numbers, and whether the ledger is whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from components.errors import ConfigError, RegistryError
from components.records import as_json
from components.registry import LedgerEvent, aliases_at, examine_ledger, list_models, live_at, read_moves
from components.settings import Settings
from components.tracking import changed_decisions
from flows import console


def show_history(name: str, settings: Settings, at: str | None, as_json_object: bool) -> None:
    """The ledger of a model as a table, or as JSON; with a time, where each alias was then.

    Raises:
        ConfigError: the time is none.
        RegistryError: nothing was ever live, or somebody has tampered with the ledger; told after what it says.
    """
    when = moment(at) if at else None
    events = read_moves(settings, name)
    if not events:
        known = ", ".join(list_models(settings)) or "none"
        raise RegistryError(f"No version of '{name}' was ever live; models here: {known}.", "run its run file first.")
    problems = examine_ledger(settings, name) + changed_decisions(settings, events)
    live = live_at(events, when) if when else None
    if as_json_object:
        asked: dict[str, Any] = {}
        if when:
            asked = {"at": when.isoformat(), "live": as_json(live) if live else None}
            asked["aliases"] = aliases_at(events, when)
        entries = [as_json(event) for event in events]
        console.print_json({"model": name, **asked, "ledger": entries, "whole": not problems, "problems": problems})
    elif when:
        console.print_text(_live_in_words(name, when, live))
        console.print_text(_aliases_in_words(events, when))
    else:
        _print_ledger(events)
    if problems:
        raise RegistryError(
            f"The ledger of '{name}' is not what was written: {' '.join(problems)}",
            "compare it with a backup of MLflow's database, and ask who may write there.",
        )
    if not as_json_object:
        console.say(f"The ledger is whole: {len(events)} moves, each sealed with the one before and with its decision.")


def moment(text: str) -> datetime:
    """A date, meaning its end, or a time; UTC where it names no zone.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if len(text.strip()) <= len("2026-11-21"):
            day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
            return datetime.combine(day, time.max, UTC)
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is neither a date nor a time.", "write 2026-11-21 or 2026-11-21T15:00+01:00."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _print_ledger(events: Sequence[LedgerEvent]) -> None:
    header = ("when (UTC)", "who", "move", "numbers", "why")
    rows = [
        (minute_of(event), event.who, move_in_words(event), numbers_in_words(event.numbers), event.why)
        for event in events
    ]
    console.print_table("", header, rows)


def minute_of(event: LedgerEvent) -> str:
    """When a move was made (UTC)."""
    return event.time[:16].replace("T", " ")


def move_in_words(event: LedgerEvent) -> str:
    """Which alias was moved, from where to where, and by what."""
    return f"{event.action}: {event.alias} {event.before or 'none'} → {event.after or 'none'}"


def numbers_in_words(numbers: Any) -> str:
    """The numbers behind a move, in a few words."""
    if not numbers:
        return ""
    words = f"{numbers['metric']} {numbers['candidate_score']:.4f}"
    if numbers.get("champion_score") is not None:
        words += f" against {numbers['champion_score']:.4f}, p = {numbers['p_value']:.2g}"
    return f"{words}, {numbers['rows']:,} rows"


def _live_in_words(name: str, when: datetime, live: LedgerEvent | None) -> str:
    moment_words = f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if live is None:
        return f"At {moment_words} no version of '{name}' was live."
    numbers = numbers_in_words(live.numbers)
    return (
        f"At {moment_words} version {live.after} of '{name}' was live, since {live.time[:16].replace('T', ' ')} UTC: "
        f"{live.action} by {live.who}{f' ({numbers})' if numbers else ''}. {live.why}"
    )


def _aliases_in_words(events: Sequence[LedgerEvent], when: datetime) -> str:
    """Where each alias was, and since when a challenger was judged."""
    words = []
    for alias, version in aliases_at(events, when).items():
        since = [e.time for e in events if e.alias == alias and e.after == version and _is_past(e, when)]
        begun = f" since {since[-1][:16].replace('T', ' ')} UTC" if version and since else ""
        words.append(f"{alias}: {f'version {version}' if version else 'none'}{begun}")
    return "; ".join(words) + "."


def _is_past(event: LedgerEvent, when: datetime) -> bool:
    return datetime.fromisoformat(event.time) <= when
