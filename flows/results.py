"""What came of a run, for a person, a script and Prefect alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from components.records import EvaluationReport, PromotionDecision, RegisteredVersion, as_json
from flows.job import Job
from flows.progress import StepOutcome

Outcome = Literal["promoted", "waiting", "refused", "unchanged", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run. `version` is the candidate's; where there is none, the champion's, if any."""

    outcome: Outcome
    model: str
    reason: str
    version: int | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None
    bundle: str | None = None
    report: str | None = None
    steps: Sequence[StepOutcome] = ()


def unchanged(job: Job, reason: str) -> RunResult:
    """Nothing to do; `reason` names what was compared."""
    champion = job.champion
    return RunResult(
        "unchanged",
        job.config.name,
        reason,
        version=champion.version if champion else None,
        run_id=champion.run_id if champion else None,
        steps=tuple(job.log.steps),
    )


def refused(job: Job, version: RegisteredVersion, report: EvaluationReport, decision: PromotionDecision) -> RunResult:
    """The gate said no: the champion stays."""
    return RunResult(
        "refused",
        job.config.name,
        decision.reason,
        version=version.version,
        run_id=version.run_id,
        metrics=report.metrics,
        decision=as_json(decision),
        steps=tuple(job.log.steps),
    )


def waiting(
    job: Job, version: RegisteredVersion, report: EvaluationReport, decision: PromotionDecision, until: str
) -> RunResult:
    """The gate said yes, and a person has to say it too."""
    asked = f"Waits for approval until {until[:16].replace('T', ' ')} UTC."
    return replace(refused(job, version, report, decision), outcome="waiting", reason=f"{decision.reason} {asked}")


def promoted(
    job: Job, version: RegisteredVersion, report: EvaluationReport, decision: PromotionDecision, bundle: str
) -> RunResult:
    """The candidate is the champion; `bundle` is its tag."""
    return replace(refused(job, version, report, decision), outcome="promoted", bundle=bundle)
