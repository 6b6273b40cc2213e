"""`rebert approve`: what has passed the gate goes live when a person says so; and the run that leaves it waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.errors import RegistryError
from components.notices import Notice
from components.records import EvaluationReport, GateRule, PromotionDecision, RegisteredVersion, as_json
from components.reports.decision_file import digest_of_content
from components.settings import Settings
from flows import console, results
from flows.job import Job
from flows.results import RunResult


def leave_waiting(
    job: Job, version: RegisteredVersion, report: EvaluationReport, decision: PromotionDecision
) -> RunResult:
    """The end of a run whose candidate a person has to approve; its bundle is made and proved."""
    from components import registry, tracking

    days = job.config.gate.approval_days
    waiting = registry.ask_for_approval(job.settings, version.name, version.version, decision, days=days)
    tracking.log_waiting(job.settings, version.run_id, waiting.until)
    return results.waiting(job, version, report, decision, waiting.until)


def close_expired(settings: Settings, config: RunConfig) -> None:
    """Refuse, write down and tell what nobody has approved in time."""
    from components import registry, tracking
    from flows.notifying import send_once

    for version, why in registry.expire(settings, config.name):
        tracking.log_expiry(settings, version.run_id, why)
        if "refused" in config.notify.of:
            look = f"rebert explain {config.name} {version.version}"
            event = f"version {version.version}: {why}"
            send_once(settings, Notice(config.name, "refused", config.notify.to, why, look, event))


def approve_version(name: str, settings: Settings, version: int, reason: str, as_json_object: bool) -> None:
    """Make a waiting version the champion, in the registry and on the endpoint.

    Its bundle is made ready first: when that fails, nothing has moved. Whatever fails, the command can be repeated.

    Raises:
        RegistryError: it does not wait, its time is over, or another champion is live by now.
        BusyError: a run of this model is at work.
    """
    from components import registry, tracking
    from components.registry.single_flight import single_flight
    from components.serving.releases import write_release
    from flows.serving import bundle_of

    with single_flight(settings, name):
        registry.require_waiting(settings, name, version)
        wanted = registry.get_version(settings, name, version)
        decision = _decision_about(settings, wanted)
        bundle = bundle_of(settings, wanted)
        event = registry.approve(settings, name, version, decision, reason=reason)
        write_release(settings, name, bundle)
        tracking.log_approval(settings, wanted.run_id, event.why)
        registry.stop_waiting(settings, name, version)  # last: until here the command can be repeated
    if as_json_object:
        console.print_json({"model": name, "champion": version, "bundle": bundle.tag, "event": as_json(event)})
    else:
        console.print_text(f"Version {version} is the champion of '{name}', instead of {event.before or 'none'}.")


def _decision_about(settings: Settings, version: RegisteredVersion) -> PromotionDecision:
    """The gate's decision, as it was recorded in MLflow."""
    from components import tracking

    content = tracking.read_decision(settings, version.run_id)
    if content is None:
        raise RegistryError(
            f"Nothing was decided about version {version.version} of '{version.name}'.", "run its run file again."
        )
    known: dict[str, Any] = {key: value for key, value in content.items() if key in PromotionDecision.__slots__}
    rules = tuple(GateRule(**rule) for rule in known.pop("rules"))
    return PromotionDecision(**known | {"folder": Path(), "rules": rules, "digest": digest_of_content(content)})
