"""What is live: the champion of the registry, its bundle, and the release file that running endpoints follow."""

from __future__ import annotations

import logging
import shlex
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING

from components.errors import RegistryError
from components.records import Bundle, RegisteredVersion, as_json
from components.settings import Settings
from flows import console

if TYPE_CHECKING:
    from components.serving.releases import Kept
    from flows.job import Job

log = logging.getLogger("rebert.serving")
SWAP_SECONDS = 5.0  # that a running endpoint has for a rollback before its operator is told


def roll_back(name: str, settings: Settings, to: int | None, reason: str, as_json_object: bool) -> None:
    """Make an earlier champion live again, in the registry and on the endpoint.

    Its bundle is made ready first: when that fails, nothing has moved, and the command can simply be repeated.
    """
    from components import registry
    from components.serving.releases import write_release

    if to is None and _finish_earlier_move(name, settings):
        return
    target = registry.rollback_target(settings, name, to)
    bundle = bundle_of(settings, target)
    event = registry.rollback(settings, name, target.version, reason=reason)
    write_release(settings, name, bundle)
    _wait_for_endpoint(name, settings, bundle)
    if as_json_object:
        console.print_json({"model": name, "champion": event.after, "bundle": bundle.tag, "event": as_json(event)})
    else:
        console.print_text(f"The champion of '{name}' is version {event.after} again, instead of {event.before}.")


def _wait_for_endpoint(name: str, settings: Settings, bundle: Bundle) -> None:
    """Say so where an endpoint of this machine goes on with another version; say nothing where none is running."""
    from components.serving.endpoint_process import Address, version_at
    from components.serving.releases import read_bundle_release
    from flows.endpoints import known_port

    limits = read_bundle_release(bundle.path / "src").serving
    address = Address("127.0.0.1", known_port(name, settings) or limits.port)
    ends = monotonic() + SWAP_SECONDS
    while (version := version_at(address)) not in (None, bundle.version):
        if monotonic() > ends:
            console.say(
                f"The endpoint at {address.url} still answers with version {version}; if it is the one of '{name}', "
                "its log and 'refused' of GET /model say why."
            )
            return
        sleep(0.2)


def tell_refusal(name: str, settings: Settings, refused: Bundle, live: int) -> None:
    """Tell the operator of a release that the endpoint does not switch to."""
    from components.notices import Notice
    from components.serving.keeper import endpoint_log
    from flows.notifying import send_once

    why = f"The endpoint does not switch to version {refused.version} ({refused.tag}) and goes on with {live}."
    log.error("%s: %s", name, why)
    look = f"tail {shlex.quote(str(endpoint_log(settings, name)))}"
    send_once(settings, Notice(name, "refused", None, why, look, f"endpoint: {refused.tag}"))


def _finish_earlier_move(name: str, settings: Settings) -> bool:
    """Whether a rollback or promotion had been interrupted before the endpoint knew of it; it is completed then."""
    from components import registry

    registry.settle(settings, name)
    version = _behind(name, settings)
    if version is None:
        return False
    follow_registry(name, settings)
    console.say(
        f"An earlier move to version {version} had been interrupted and is complete now. "
        "To go further back, roll back again."
    )
    return True


def complete_move(name: str, settings: Settings) -> int | None:
    """The champion's version, where a move to it had been interrupted before the endpoint knew of it and is complete
    now; None where there was nothing to do, or whoever is at work on the model does it.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from components.errors import BusyError
    from components.registry.single_flight import single_flight

    if _behind(name, settings) is None:
        return None
    try:
        with single_flight(settings, name):
            version = _behind(name, settings)
            if version is not None:
                follow_registry(name, settings)
            return version
    except BusyError:
        return None


def _behind(name: str, settings: Settings) -> int | None:
    """The champion's version where the endpoint is told of another; None where the two agree."""
    from components import registry

    champion, release = registry.champion(settings, name), _released(name, settings)
    return champion.version if champion and release and release.version != champion.version else None


def follow_registry(name: str, settings: Settings) -> Bundle:
    """The bundle of the champion, which the release file names from now on; built again where the store lost it.

    Raises:
        RegistryError: there is no champion, or MLflow does not answer.
    """
    from components import registry
    from components.serving.releases import write_release

    registry.settle(settings, name)
    champion = registry.champion(settings, name)
    if champion is None:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(f"'{name}' has no champion; models here: {known}.", "run the model's run file first.")
    released = _released(name, settings)
    if released and _is_bundle_of(released, champion):
        return released  # a newer one of the same version may wait for its proof
    bundle = bundle_of(settings, champion)
    still = registry.champion(settings, name)
    if still is None or still.version != champion.version:  # a promotion while the bundle was being built
        return follow_registry(name, settings)
    write_release(settings, name, bundle)
    return bundle


def _is_bundle_of(bundle: Bundle, version: RegisteredVersion) -> bool:
    """Whether a bundle is there and serves this version."""
    from components.errors import BundleError
    from components.serving.releases import read_bundle_release

    try:
        facts = read_bundle_release(bundle.path / "src")
    except BundleError:
        return False
    meant = (version.version, version.digest)
    return meant == (bundle.version, bundle.model_digest) == (facts.version, facts.model_digest)


def bundle_of(settings: Settings, version: RegisteredVersion) -> Bundle:
    """The bundle of a version, from the store or built again."""
    from components.registry import fetch_model
    from components.serving.bundling import find_bundle, rebuild_bundle

    found = find_bundle(settings, version)
    return found or rebuild_bundle(settings, version, fetch_model(settings, version), _kept(settings, version))


def _kept(settings: Settings, version: RegisteredVersion) -> Kept:
    from components import tracking
    from components.registry import reference_folder
    from components.serving.releases import Kept

    reference = reference_folder(settings, version)
    there = reference.exists() or tracking.fetch_reference(settings, version.run_id, reference)
    return Kept(
        tracking.fetch_release(settings, version.run_id),
        tracking.fetch_engine(settings, version.run_id, version.digest),
        reference if there else None,
    )


def keep_live(job: Job) -> Bundle | None:
    """See to it that the champion is what its endpoint serves, as the run file's `serving` says; None without one.

    This completes a promotion that was interrupted, and carries a change of `serving` or `description`, which needs no
    training, to the endpoint.
    """
    from components import registry
    from components.serving.bundling import build_bundle
    from components.serving.proving import prove_bundle
    from components.serving.releases import Evidence, engine_of, read_bundle_release, reference_of, write_release
    from components.tracking import log_bundle
    from flows.engines import choose_engine_again

    config, settings = job.config, job.settings
    champion = registry.champion(settings, config.name)
    if champion is None:
        return None
    bundle = follow_registry(config.name, settings)
    facts = read_bundle_release(bundle.path / "src")
    if (facts.serving, facts.description) == (config.serving, config.description):
        return bundle
    model = registry.fetch_model(settings, champion)
    engine, trials = engine_of(bundle.path / "src"), facts.trials
    wanted, had = ((each.engine, each.max_accuracy_loss) for each in (config.serving, facts.serving))
    if wanted != had and (optimised := choose_engine_again(job, champion)) is not None:
        engine, trials = optimised.engine_folder, optimised.trials
    reference = reference_of(bundle.path / "src")
    evidence = Evidence(facts.metrics, facts.decision, engine, trials, reference)
    bundle = build_bundle(settings, config, champion, model, evidence)
    prove_bundle(settings, bundle, model)
    log_bundle(settings, champion.run_id, bundle)
    write_release(settings, config.name, bundle)
    log.warning("The endpoint of '%s' has the limits of the run file now.", config.name)
    return bundle


def serve_model(name: str, settings: Settings, host: str | None, port: int | None, as_json_object: bool) -> None:
    """Serve the champion until Ctrl-C or SIGTERM; an endpoint that dies is started again.

    As JSON, one object says where, once it answers for the first time.

    Raises:
        RegistryError: there is no champion.
        ServingError: the port is taken, or the bundle does not start.
    """
    from components.serving.keeper import endpoint_log, serve
    from components.serving.releases import read_bundle_release

    file = endpoint_log(settings, name)

    told = False

    def say(url: str, bundle: Bundle) -> None:
        nonlocal told
        if as_json_object and not told:
            console.print_json({"model": name, "version": bundle.version, "address": url})
        told = True
        console.say(f"{name} version {bundle.version} at {url} (log: {file}; Ctrl-C ends it)")
        if not settings.keys.exists() and not _is_loopback(
            host or read_bundle_release(bundle.path / "src").serving.host
        ):
            console.say("Whoever reaches it may ask: it wants no API key. 'rebert keys add NAME' makes the first.")

    def say_swap(_url: str, bundle: Bundle) -> None:
        console.say(f"{name} version {bundle.version} answers now.")

    live, tell = partial(live_bundle, name, settings), partial(tell_refusal, name, settings)
    serve(settings, name, host, port, on_ready=say, on_swap=say_swap, on_refusal=tell, live=live)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def live_bundle(name: str, settings: Settings) -> Bundle:
    """The champion's bundle; the one that was live last while MLflow is away: an outage there is none here."""
    try:
        return follow_registry(name, settings)
    except RegistryError as error:
        last = _released(name, settings)
        if last is None:
            raise
        log.warning("%s The version that was live last is served.", error.problem)
        return last


def _released(name: str, settings: Settings) -> Bundle | None:
    from components.errors import BundleError
    from components.serving.releases import read_release

    try:
        return read_release(settings, name)
    except BundleError:  # damaged: it is written anew
        return None
