"""Receivers of notices: webhooks by address, and Prefect's notification blocks by name.

An address is a secret: it comes from the environment or a file when something is sent, and no error shows it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from inspect import isawaitable
from typing import Any

from components.errors import ConfigError
from components.secret_files import FILE, read_secret

ADDRESS = "REBERT_WEBHOOK"
ANSWER_SECONDS = 10


class Undelivered(Exception):
    """A notice that did not reach anybody, with a reason that shows no address."""


def deliver(to: str | None, subject: str, body: str) -> None:
    """Send a text.

    Args:
        to: as `notify.to` of a run file.

    Raises:
        Undelivered: the receiver did not take it.
        ConfigError: there is no such address.
    """
    if to is not None and "/" in to:
        _to_block(to, subject, body)
    else:
        _to_webhook(address_of(os.environ, to), f"*{_escaped(subject)}*\n{_escaped(body)}")


def address_of(environment: Mapping[str, str], to: str | None) -> str:
    """The address that a name stands for.

    Raises:
        ConfigError: nothing is set for it.
    """
    name = variable_of(to)
    found = read_secret(environment, name)
    if found is None:
        raise ConfigError(
            f"notify.to is {to!r}, and neither {name} nor {name}_FILE is set where this runs.",
            f"set {name} to the address of the webhook, or {name}_FILE to a file that holds it.",
        )
    if not found.startswith(("https://", "http://")):
        raise ConfigError(f"{name} holds no address of a webhook.", "write one that begins with https://.")
    return found


def unset_address(environment: Mapping[str, str], to: str | None) -> str | None:
    """The variable that a run file names by `notify.to` and that is not set; None where all is well, or a block is
    named."""
    if to is None or "/" in to or is_set(environment, variable_of(to)):
        return None
    return variable_of(to)


def variable_of(to: str | None) -> str:
    """The variable that holds an address."""
    return ADDRESS if to is None else f"{ADDRESS}_{to.upper().replace('-', '_')}"


def is_set(environment: Mapping[str, str], name: str) -> bool:
    """Whether a secret is there, as a value or as a file."""
    return bool(environment.get(name) or environment.get(name + FILE))


def _to_webhook(address: str, text: str) -> None:
    import httpx

    try:
        answer = httpx.post(address, json={"text": text}, timeout=ANSWER_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # its words may show the address
        raise Undelivered(f"the webhook does not answer ({type(error).__name__}).") from None
    if not answer.is_success:
        raise Undelivered(f"the webhook answered {answer.status_code}.")


def _to_block(to: str, subject: str, body: str) -> None:
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.utilities.asyncutils import run_coro_as_sync

    try:
        block = Block.load(to)
        if not isinstance(block, NotificationBlock):
            raise Undelivered(f"the Prefect block {to} sends no notices.")
        with block.raise_on_failure():
            said: Any = block.notify(body, subject)
            if isawaitable(said):  # some kinds of block are asynchronous
                run_coro_as_sync(_awaited(said))
    except Undelivered:
        raise
    except Exception as error:  # each kind of block has exceptions of its own, whose words may show the address
        raise Undelivered(f"the Prefect block {to} did not take it ({type(error).__name__}).") from None


async def _awaited(said: Awaitable[None]) -> None:
    await said


def _escaped(text: str) -> str:
    """As Slack and what is like it want a text: https://docs.slack.dev/messaging/formatting-message-text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
