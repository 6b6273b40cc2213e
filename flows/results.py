"""What came of a run, for a person, a script and Prefect alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from components.errors import ProjectError, RejectedData
from components.records import EvaluationReport, PromotionDecision, RegisteredVersion, as_json
from flows import console
from flows.progress import StepOutcome

if TYPE_CHECKING:
    from flows.job import Job

Outcome = Literal["promoted", "waiting", "refused", "unchanged", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run. `version` is the candidate's; where there is none, the champion's, if any.

    `metrics` and `bundle` are that version's. `model` is None where its run file cannot be read.
    """

    outcome: Outcome
    model: str | None
    reason: str
    version: int | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None
    bundle: str | None = None
    report: str | None = None
    steps: Sequence[StepOutcome] = ()


def unchanged(job: Job, reason: str) -> RunResult:
    """Nothing to do; `reason` names what was compared. Steps that were only looked up count as reused."""
    from components.serving.releases import read_bundle_release, read_release

    champion, live = job.champion, read_release(job.settings, job.config.name)
    looked_up = [StepOutcome(step.name, "reused", 0.0, step.reason) for step in job.plan().steps]
    return RunResult(
        "unchanged",
        job.config.name,
        reason,
        version=champion.version if champion else None,
        run_id=champion.run_id if champion else None,
        metrics=read_bundle_release(live.path / "src").metrics if champion and live else {},
        bundle=live.tag if champion and live else None,
        steps=tuple(job.log.steps or looked_up),
    )


def failed(name: str | None, error: ProjectError, steps: Sequence[StepOutcome] = ()) -> dict[str, Any]:
    """What ended on something that a person can mend, as the content of a result, with the error."""
    rejected = error if isinstance(error, RejectedData) else None
    result = RunResult(
        "rejected" if rejected else "failed",
        name,
        error.problem,
        run_id=rejected.run_id if rejected else None,
        report=rejected.report if rejected else None,
        steps=tuple(steps),
    )
    return as_json(result) | {"error": console.error_content(error)}


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
