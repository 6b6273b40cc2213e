"""What follows from the monitor's alarms: a run where one may mend them, and a notice of every one that is new.

What is done goes into the memory, one measure at a time: a run that could not be asked for is tried again with the next
look, and nobody is told of the same twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from components.errors import OrchestrationError
from components.monitoring.judging import Look
from components.monitoring.measure_words import NAMES
from components.monitoring.memory import Memory
from components.notices import Notice

if TYPE_CHECKING:
    from flows.monitoring import Subject

IN_VAIN = "Unchanged"  # name of the state of a run that found nothing new to learn from


def act(subject: Subject, found: Look, memory: Memory) -> tuple[str, Memory]:
    """Ask for a run and tell people, once for each event; what was done in words, and what is remembered of it."""
    memory = reopen(subject, memory)
    wanted, action = memory.unasked(subject.config.monitor.retrain_on), ""
    if wanted:
        asked = datetime.now(UTC)
        try:
            action = ask_for_run(subject, _named(wanted))
        except OrchestrationError as error:
            action = f"No run was asked for: {error.problem}"
        else:
            memory = memory.asked(wanted, asked.isoformat())
    untold = memory.untold()
    if untold:
        action = f"{action} {_tell(subject, found, memory, untold, action)}".strip()
        memory = memory.told(untold)
    return action, memory


def reopen(subject: Subject, memory: Memory) -> Memory:
    """The memory with alarms told and acted upon anew whose run found nothing to learn from while they went on.

    Such a run is told of by nobody else: for all other runs having nothing to do is no news.
    """
    asked = memory.asked_for()
    if not asked:
        return memory
    from flows.triggers import state_since

    try:
        vain = [
            name for name, time in asked.items() if state_since(subject.config.name, subject.settings, time) == IN_VAIN
        ]
    except (OrchestrationError, httpx.HTTPError):
        return memory  # the next look asks again
    return memory.reopened(vain)


def ask_for_run(subject: Subject, named: str) -> str:
    """Have the model run, within the limits of its triggers.

    Raises:
        OrchestrationError: there is no server, it does not answer, the model is not deployed, or its runs are paused.
    """
    from prefect.client.orchestration import get_client

    from flows import triggers
    from flows.deployed import require_deployment, require_server, require_unpaused

    name = subject.config.name
    require_server(subject.settings)
    try:
        with get_client(sync_client=True) as client:
            deployment = require_deployment(client, name)
            require_unpaused(deployment)
            wait = triggers.ask_for_run(client, deployment, subject.config.triggers, f"the monitor: {named}")
    except httpx.HTTPError as error:
        raise OrchestrationError(
            f"Prefect did not take the run: {str(error).partition(chr(10))[0] or type(error).__name__}.",
            "see whether the server that PREFECT_API_URL names is well.",
        ) from error
    return f"A run was asked for; it begins {f'not before {triggers.in_words(wait)}.' if wait else 'now.'}"


def _tell(subject: Subject, found: Look, memory: Memory, new: Sequence[str], action: str) -> str:
    from flows.notifying import send_once

    notify = subject.config.notify
    if "drifted" not in notify.of:
        return "Nobody is told: notify.of leaves out drifted."
    vain = memory.in_vain(new)
    again = f" The run that was asked for because of {_named(vain)} found nothing new to learn from." if vain else ""
    text = f"Version {found.version}. {found.reason}{again} {action}".strip()
    event, look_further = memory.event(new), f"rebert monitor {found.name} --window {len(found.window.rows) or 1}"
    sent = send_once(subject.settings, Notice(found.name, "drifted", notify.to, text, look_further, event))
    return "Somebody was told." if sent else "Nobody was told: no address is set, or it was told before."


def _named(measures: Sequence[str]) -> str:
    return " and ".join(NAMES[name] for name in measures)  # type: ignore[index]
