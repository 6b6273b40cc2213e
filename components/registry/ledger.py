"""The ledger: which alias was where, when and why, kept as tags `rebert.ledger.NNNN` of the registered model.

`champion` moves by a promotion or a rollback, `challenger` when a version is to be judged and when it is refused; what
follows from these (`previous`, a challenger that became champion) is worked out and not written down twice.
An event is written before its aliases move (`state` intent), and closed and sealed after; a closed one is never written
again. Whoever finds an intent that was never done looks at the champion alias, which alone says what is live, and
completes or abandons the event. `seals.py` finds what was tampered with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from components.digests import digest_of
from components.errors import RegistryError
from components.registry.ledger_numbers import LONGEST_ENTRY, fitting
from components.registry.store import mlflow_errors, open_store
from components.settings import Settings

PREFIX = "rebert.ledger."
STORY = "**Live: version"
MOST_MOVES = 10
LONGEST_SENTENCE = 300  # characters; the whole reason is in the tag
Action = Literal["promote", "rollback", "challenge", "refuse"]
ONE_LINE = str.maketrans({"\n": " ", "|": "/"})
LONGEST_REASON = 2000  # characters


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One move of an alias; `before` is None where no version had it, `after` where none has it from then on.

    `numbers` are those of the decision behind a promotion or refusal, with the rule set of the gate; `time` is ISO 8601
    in UTC. `previous` is the seal of the event before, `seal` the digest of this one once it is closed.
    """

    time: str
    action: Action
    before: int | None
    after: int | None
    why: str
    who: str
    number: int
    run_id: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    state: Literal["intent", "done", "abandoned"] = "intent"
    previous: str = ""
    seal: str = ""
    alias: Literal["champion", "challenger"] = "champion"


@mlflow_errors
def read_ledger(settings: Settings, name: str) -> list[LedgerEvent]:
    """All moves of a model's champion that were done, the oldest first."""
    return champion_moves(events_of(open_store(settings), name))


@mlflow_errors
def read_moves(settings: Settings, name: str) -> list[LedgerEvent]:
    """All moves of every alias that were done, the oldest first."""
    return [event for event in events_of(open_store(settings), name) if event.state == "done"]


def champion_moves(events: Sequence[LedgerEvent]) -> list[LedgerEvent]:
    """Of some events, the moves of the champion that were done."""
    return [event for event in events if event.state == "done" and event.alias == "champion"]


def live_at(events: Sequence[LedgerEvent], time: datetime) -> LedgerEvent | None:
    """The event that put live what was live at a time (with its zone), or None before the first."""
    past = [event for event in champion_moves(events) if datetime.fromisoformat(event.time) <= time]
    return past[-1] if past else None


def aliases_at(events: Sequence[LedgerEvent], time: datetime | None = None) -> dict[str, int | None]:
    """The version of each alias at a time (with its zone), or after all events; None where it had none."""
    done = [event for event in events if event.state == "done"]
    past = [event for event in done if time is None or datetime.fromisoformat(event.time) <= time]
    champion = challenger = None
    for event in past:
        if event.alias == "challenger":
            challenger = event.after
        else:
            champion = event.after
            challenger = None if challenger == champion else challenger  # what became live is judged no more
    previous = version_before(past, champion) if champion is not None else None
    return {"champion": champion, "challenger": challenger, "previous": previous}


def version_before(events: Sequence[LedgerEvent], version: int) -> int | None:
    """The champion to go back to from a version: the one live before it that has not itself been taken back."""
    reign: list[int] = []
    for event in champion_moves(events):
        if event.after is None:
            continue
        if event.action == "rollback":
            # What was left was bad; and what was live after the target is no way back from it either.
            taken_back = reign[reign.index(event.after) :] if event.after in reign else [event.before]
            reign = [earlier for earlier in reign if earlier not in taken_back]
        reign = [*(earlier for earlier in reign if earlier != event.after), event.after]
    position = reign.index(version) if version in reign else 0
    return reign[position - 1] if position else None


def events_of(client: Any, name: str) -> list[LedgerEvent]:
    """Every event, also those that were never done."""
    found = client.search_registered_models(f"name='{name}'")
    tags = found[0].tags if found else {}
    keys = [key for key in tags if key.startswith(PREFIX)]
    return [_event(name, key, tags[key]) for key in sorted(keys, key=lambda key: (len(key), key))]


def _event(name: str, key: str, text: str) -> LedgerEvent:
    try:
        return LedgerEvent(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise RegistryError(
            f"Entry {key.removeprefix(PREFIX)} of the ledger of '{name}' cannot be read: somebody has changed it.",
            f"restore the tag {key} of the registered model '{name}' from a backup of MLflow.",
        ) from error


def write_event(client: Any, name: str, event: LedgerEvent) -> LedgerEvent:
    """Store an event under its number."""
    client.set_registered_model_tag(name, f"{PREFIX}{event.number:04d}", _text(event))
    return event


def _text(event: LedgerEvent) -> str:
    return json.dumps(asdict(event), ensure_ascii=False)


def new_event(
    events: Sequence[LedgerEvent],
    action: Action,
    *,
    before: int | None,
    after: int | None,
    why: str,
    run_id: str,
    numbers: Mapping[str, Any] | None = None,
    alias: Literal["champion", "challenger"] = "champion",
) -> LedgerEvent:
    """The next event of a ledger, as an intent."""
    last = max(events, key=lambda event: event.number, default=None)
    event = LedgerEvent(
        number=last.number + 1 if last else 1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        action=action,
        before=before,
        after=after,
        why=why[:LONGEST_REASON],
        who=who_is_it(),
        run_id=run_id,
        previous=(last.seal or seal_of(last)) if last else "",
        alias=alias,
    )
    closed = replace(event, state="abandoned", seal=seal_of(event))
    return replace(event, numbers=fitting(numbers or {}, LONGEST_ENTRY - len(_text(closed))))


def close_event(client: Any, name: str, event: LedgerEvent, state: Literal["done", "abandoned"]) -> LedgerEvent:
    """Mark an event as done or abandoned, and seal it."""
    closed = replace(event, state=state)
    return write_event(client, name, replace(closed, seal=seal_of(closed)))


def seal_of(event: LedgerEvent) -> str:
    """SHA-256 of everything that an event says, the seal of the one before included."""
    content = asdict(replace(event, seal=""))
    if event.alias == "champion":
        del content["alias"]  # entries from before other aliases were recorded have the same seal as then
    return digest_of(content)


def tell_story(client: Any, name: str) -> None:
    """Show the last moves on the model's page, unless a person has written something else there."""
    model = client.get_registered_model(name)
    if model.description and not model.description.startswith(STORY):
        return
    done = champion_moves(events_of(client, name))
    lines = [
        f"| {event.time[:16].replace('T', ' ')} | {event.action} | {event.before or 'none'} → {event.after} | "
        f"{event.why[:LONGEST_SENTENCE].translate(ONE_LINE)} | {event.who} |"
        for event in reversed(done[-MOST_MOVES:])
    ]
    head = [f"{STORY} {done[-1].after}**", "", "| when (UTC) | what | version | why | who |", "|---|---|---|---|---|"]
    client.update_registered_model(name, "\n".join([*head, *lines]))


def who_is_it() -> str:
    """The user and the machine at work."""
    from getpass import getuser
    from socket import gethostname

    try:
        user = getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return f"{user}@{gethostname()}"
