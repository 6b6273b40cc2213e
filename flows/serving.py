"""`rebert serve` and `rebert rollback`: what is live according to the registry, and the endpoint that follows it."""

from __future__ import annotations

from components.errors import RegistryError
from components.records import Bundle, as_json
from components.settings import Settings
from flows import console


def roll_back(name: str, settings: Settings, to: int | None, reason: str, as_json_object: bool) -> None:
    """Make an earlier champion live again, in the registry and on the endpoint."""
    from components import registry

    event = registry.rollback(settings, name, to, reason=reason)
    bundle = follow_registry(name, settings)
    if as_json_object:
        console.print_json({"model": name, "champion": event.after, "bundle": bundle.tag, "event": as_json(event)})
    else:
        console.print_text(f"The champion of '{name}' is version {event.after} again, instead of {event.before}.")


def follow_registry(name: str, settings: Settings) -> Bundle:
    """The bundle of the champion, which the release file names from now on; built again where the store lost it.

    Raises:
        RegistryError: there is no champion.
    """
    from components import registry
    from components.bundling import find_bundle, rebuild_bundle
    from components.releases import read_release, write_release

    champion = registry.champion(settings, name)
    if champion is None:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(f"'{name}' has no champion; models here: {known}.", "run the model's run file first.")
    bundle = bundle_of(settings, champion)
    if _released(name, settings) == bundle:
        return bundle
    still = registry.champion(settings, name)
    if still is None or still.version != champion.version:  # a promotion while the bundle was being built
        return follow_registry(name, settings)
    write_release(settings, name, bundle)
    return bundle


def bundle_of(settings: Settings, version: RegisteredVersion) -> Bundle:
    """The bundle of a version, from the store or built again."""
    from components.bundling import find_bundle, rebuild_bundle
    from components.registry import fetch_model

    return find_bundle(settings, version) or rebuild_bundle(settings, version, fetch_model(settings, version))


def keep_live(config: RunConfig, settings: Settings) -> Bundle | None:
    """See to it that the champion is what its endpoint serves, with the limits of the run file; None without one.

    This completes a promotion that was interrupted, and carries a change of `serving` or `description`, which needs no
    training, to the endpoint.
    """
    from components import registry
    from components.bundling import build_bundle
    from components.proving import prove_bundle
    from components.releases import Evidence, read_bundle_release, write_release

    champion = registry.champion(settings, config.name)
    if champion is None:
        return None
    bundle = follow_registry(config.name, settings)
    facts = read_bundle_release(bundle.path / "src")
    if (facts.serving, facts.description) == (config.serving, config.description):
        return bundle
    model = registry.fetch_model(settings, champion)
    bundle = build_bundle(settings, config, champion, model, Evidence(facts.metrics, facts.decision))
    prove_bundle(settings, bundle, model)
    write_release(settings, config.name, bundle)
    log.warning("The endpoint of '%s' has the limits of the run file now.", config.name)
    return bundle


def serve_model(name: str, settings: Settings, host: str | None, port: int | None) -> None:
    """Serve the champion until Ctrl-C or SIGTERM; an endpoint that dies is started again.

    Raises:
        RegistryError: there is no champion.
        ServingError: the port is taken, or the bundle does not start.
    """
    from components.serving import endpoint_log, serve

    log = endpoint_log(settings, name)

    def say(url: str, bundle: Bundle) -> None:
        console.say(f"{name} version {bundle.version} at {url} (log: {log}; Ctrl-C ends it)")

    serve(settings, name, host, port, on_ready=say, live=lambda: follow_registry(name, settings))
