"""A version tried beside the live one: begun, looked at and ended from the command line."""

from __future__ import annotations

from components.errors import RegistryError
from components.settings import Settings
from flows import console


def begin(name: str, version: int, settings: Settings, mode: str, share: float, as_json_object: bool) -> None:
    """Have the endpoint of a model try a version; its bundle is built where the store has none.

    Raises:
        RegistryError: there is no such version, or it is the champion.
    """
    from components import registry
    from components.serving.places import trial_file
    from components.serving.proving import prove_bundle
    from components.serving.trials import begin_trial
    from flows.serving import bundle_of

    champion = registry.champion(settings, name)
    if champion is None or champion.version == version:
        problem = f"Version {version} of '{name}' is live." if champion else f"No version of '{name}' is live."
        raise RegistryError(problem, "name another version; 'rebert models' lists what there is.")
    found = registry.get_version(settings, name, version)
    bundle = bundle_of(settings, found)
    prove_bundle(settings, bundle, registry.fetch_model(settings, found))
    trial = begin_trial(trial_file(settings, name), bundle, "shadow" if mode == "shadow" else "canary", share)
    if as_json_object:
        console.print_json({"model": name, **trial.model_dump(mode="json")})
    else:
        what = "answers copies of" if mode == "shadow" else "answers"
        console.print_text(
            f"Version {version} of '{name}' {what} {share:.0%} of the requests, beside {champion.version}."
        )
        console.say(f"GET /model of the endpoint has its counts; 'rebert trial end {name}' ends it.")


def show(name: str, settings: Settings, as_json_object: bool) -> None:
    """What is tried, and whether the endpoint has ended it."""
    from components.serving.places import trial_ends, trial_file
    from components.serving.trials import how_it_ended, read_trial

    trial = read_trial(trial_file(settings, name))
    ends = (how_it_ended(place, trial) for place in trial_ends(settings, name)) if trial else ()
    ended = next(filter(None, ends), None)
    if as_json_object:
        facts = {"trial": trial, "ended": ended}
        console.print_json({"model": name, **{key: one and one.model_dump(mode="json") for key, one in facts.items()}})
    elif trial is None:
        console.print_text(f"Nothing is tried beside the live version of '{name}'.")
    else:
        since = f"{trial.started:%Y-%m-%d %H:%M} UTC"
        console.print_text(
            f"Version {trial.version} as {trial.mode}, {trial.share:.0%} of the requests, since {since}."
        )
        if ended:
            console.print_text(f"The endpoint has ended it at {ended.ended:%Y-%m-%d %H:%M} UTC: {ended.reason}")


def end(name: str, settings: Settings) -> None:
    """End the trial; the live version answers everything."""
    from components.serving.places import trial_file
    from components.serving.trials import end_trial

    trial = end_trial(trial_file(settings, name))
    if trial:
        console.print_text(f"The trial of version {trial.version} of '{name}' is over.")
    else:
        console.print_text(f"Nothing was tried beside the live version of '{name}'.")
