"""`rebert serve` and `rebert rollback`: what is live according to the registry, and the endpoint that follows it."""

from __future__ import annotations

from components.records import as_json
from components.settings import Settings
from flows import console


def roll_back(name: str, settings: Settings, to: int | None, reason: str, as_json_object: bool) -> None:
    """Make an earlier champion live again, in the registry and on the endpoint."""
    from components import registry
    from components.releases import write_release

    event = registry.rollback(settings, name, to, reason=reason)
    bundle = bundle_of(settings, registry.get_version(settings, name, event.after))
    write_release(settings, name, bundle)
    if as_json_object:
        console.print_json({"model": name, "champion": event.after, "bundle": bundle.tag, "event": as_json(event)})
    else:
        console.print_text(f"The champion of '{name}' is version {event.after} again, instead of {event.before}.")
