"""API keys from the command line: made, listed and revoked; a running endpoint follows at once."""

from __future__ import annotations

from datetime import UTC, datetime

from components.serving.api_keys import add_key, read_keys, revoke_key
from components.settings import Settings
from flows import console


def make_key(name: str, settings: Settings, days: int | None, as_json_object: bool) -> None:
    """Make a key and print it, this once."""
    first = not settings.keys.exists()
    key = add_key(settings.keys, name, days)
    if as_json_object:
        console.print_json({"name": name, "key": key, "file": str(settings.keys)})
        return
    console.print_text(key)
    console.say("Only its hash is kept: it cannot be shown again. Send it as 'Authorization: Bearer KEY'.")
    if first:
        console.say("It is the first key: from now on the endpoints of this home answer only who sends one.")


def list_keys(settings: Settings, as_json_object: bool) -> None:
    """Names and dates of all keys, never the keys."""
    keys = read_keys(settings.keys)
    if as_json_object:
        console.print_json({"file": str(settings.keys), "keys": [key.model_dump(mode="json") for key in keys]})
    elif not settings.keys.exists():
        console.print_text("No keys: endpoints answer everybody who reaches them. 'rebert keys add NAME' makes one.")
    else:
        rows = [(key.name, f"{key.created:%Y-%m-%d}", _until(key.expires), key.sha256[:12]) for key in keys]
        console.print_table("", ("name", "since", "until", "hash"), rows)


def _until(expires: datetime | None) -> str:
    if expires is None:
        return "it is revoked"
    return f"{expires:%Y-%m-%d}" + (" (over)" if expires <= datetime.now(UTC) else "")


def drop_key(name: str, settings: Settings) -> None:
    """Let a key hold no longer."""
    revoke_key(settings.keys, name)
    console.print_text(f"The key '{name}' holds no longer.")
