"""`rebert prune`: a table of what goes, then its removal, a model at a time and never beside a run of it."""

from __future__ import annotations

from components import registry
from components.errors import RegistryError
from components.registry.single_flight import single_flight
from components.retention import Removal, find_removable, remove
from components.settings import Settings
from flows import console

MEBIBYTE = 1 << 20


def prune_models(name: str | None, settings: Settings, keep: int, dry_run: bool, as_json_object: bool) -> None:
    """Remove what nobody needs of one model or of all, or say what would go.

    Raises:
        RegistryError: there is no such model.
        BusyError: a run of it is at work.
    """
    known = registry.list_models(settings)
    if name is not None and name not in known:
        hint = f"name one of: {', '.join(known)}." if known else "run a run file first."
        raise RegistryError(f"There is no model '{name}'.", hint)
    found: dict[str, list[Removal]] = {}
    for model in [name] if name else known:
        with single_flight(settings, model):
            found[model] = find_removable(settings, model, keep)
            if not dry_run:
                remove(settings, found[model])
    _show(found, dry_run, as_json_object)


def _show(found: dict[str, list[Removal]], dry_run: bool, as_json_object: bool) -> None:
    rows = [(model, each.kind, each.name, each.size) for model, removals in found.items() for each in removals]
    total = sum(size for *_, size in rows)
    if as_json_object:
        names = ("model", "kind", "name", "bytes")
        listed = [dict(zip(names, row, strict=True)) for row in rows]
        console.print_json({"removed": not dry_run, "bytes": total, "things": listed})
        return
    if not rows:
        console.print_text("Nothing to remove.")
        return
    shown = [(model, kind, name, f"{size / MEBIBYTE:.1f}") for model, kind, name, size in rows]
    console.print_table("", ("model", "what", "name", "MiB"), shown)
    verb = "would go; run it without --dry-run" if dry_run else "are gone"
    console.print_text(f"{len(rows)} things of {total / MEBIBYTE:,.1f} MiB {verb}.")
