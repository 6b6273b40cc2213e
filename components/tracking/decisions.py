"""What was decided about a run's candidate: by the gate, by its bundle's numbers, by a person."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.digests import canonical, digest_file
from components.records import PromotionDecision, as_json
from components.registry.ledger import LedgerEvent
from components.registry.store import mlflow_errors, open_store
from components.reports.bundle_rules import Measured
from components.reports.decision_file import DECISION, digest_of_content, read_content
from components.reports.decision_words import decision_in_words
from components.settings import Settings
from components.step_store import temporary_folder
from components.tracking.places import artifact_errors, place_of, say_what_came_of_it

TEST_ROWS = "test_rows"  # tag of a run: the digest of the frozen rows that decided about it
MOST_RUNS = 10_000  # that one set of frozen rows is believed to have decided about
REPORT_FILE = "evaluation/report.json"
SEEN = "decision/seen"  # each decision about a run that the ledger names, by the digest of its decision.json
DECIDED = ("passed", "promoted", "refused", "waiting")


@mlflow_errors
def log_decision(settings: Settings, run_id: str, decision: PromotionDecision) -> None:
    """Say whether the candidate has passed the gate, why, and by what numbers."""
    place = place_of(settings, run_id)
    say_what_came_of_it(place, "passed" if decision.promote else "refused", decision.reason)
    seen = ("difference", "p_value", "lowest", "detectable", "earlier_decisions")
    place.metrics({f"decision/{name}": getattr(decision, name) for name in seen})
    if decision.test_rows:
        place.client.set_tag(run_id, TEST_ROWS, decision.test_rows)
    if (content := read_content(decision)) is not None:
        with _as_it_is_now(decision, content) as folder:
            place.upload(folder, "decision")
            # The ledger names what it was by; a run may be judged again, on other rows or against another champion.
            place.upload(folder / DECISION, f"{SEEN}/{digest_of_content(content)}")
    else:
        with artifact_errors(settings):
            place.client.log_dict(run_id, as_json(decision), "decision/decision.json")


@contextmanager
def _as_it_is_now(decision: PromotionDecision, content: dict[str, Any]) -> Iterator[Path]:
    """The decision's folder, with its champion's number of now where the file is of a time when it had another."""
    text = canonical(content)
    if (decision.folder / DECISION).read_text(encoding="utf-8") == text:
        yield decision.folder
        return
    with temporary_folder() as place:
        folder = place / "decision"
        shutil.copytree(decision.folder, folder)
        (folder / DECISION).write_text(text, encoding="utf-8")
        (folder / "decision.md").write_text(decision_in_words(content), encoding="utf-8")
        yield folder


@mlflow_errors
def changed_decisions(settings: Settings, events: Sequence[LedgerEvent]) -> list[str]:
    """What is wrong with the files in which the numbers of some entries stand in full, in sentences."""
    named = [event for event in events if event.numbers.get("decision") and event.run_id]
    return [
        f"The decision.json of entry {event.number}, {SEEN}/{event.numbers['decision']} of run {event.run_id}, "
        "is gone or was changed."
        for event in named
        if not _is_there(settings, event.run_id, event.numbers["decision"])
    ]


def _is_there(settings: Settings, run_id: str, digest: str) -> bool:
    from mlflow.artifacts import download_artifacts, list_artifacts

    folder = f"{SEEN}/{digest}"
    with artifact_errors(settings):
        if not list_artifacts(run_id=run_id, artifact_path=folder, tracking_uri=settings.tracking_uri):
            return False
        with temporary_folder() as place:
            found = download_artifacts(
                run_id=run_id,
                artifact_path=f"{folder}/{DECISION}",
                dst_path=str(place),
                tracking_uri=settings.tracking_uri,
            )
            return digest_file(Path(found)) == digest


@mlflow_errors
def log_expiry(settings: Settings, run_id: str, why: str) -> None:
    """Say that nobody has approved it in time."""
    say_what_came_of_it(place_of(settings, run_id), "refused", why)


@mlflow_errors
def accepted_report(settings: Settings, run_id: str) -> dict[str, Any] | None:
    """The report.json with which a version was judged; None where its run has none any more."""
    from mlflow.artifacts import list_artifacts, load_dict

    with artifact_errors(settings):
        found = list_artifacts(run_id=run_id, artifact_path="evaluation", tracking_uri=settings.tracking_uri)
        if REPORT_FILE not in [each.path for each in found or ()]:
            return None
        content: dict[str, Any] = load_dict(f"{open_store(settings).get_run(run_id).info.artifact_uri}/{REPORT_FILE}")
    return content


@mlflow_errors
def log_measured(settings: Settings, run_id: str, measured: Measured) -> None:
    """Show how fast, how large and how costly the bundle is."""
    place_of(settings, run_id).metrics({f"bundle/{name}": value for name, value in as_json(measured).items()})


@mlflow_errors
def log_promotion(settings: Settings, run_id: str) -> None:
    """Say that what had passed the gate is live."""
    open_store(settings).set_tag(run_id, "decision", "promoted")


@mlflow_errors
def log_waiting(settings: Settings, run_id: str, until: str) -> None:
    """Say that a person has to approve what the gate has passed."""
    client = open_store(settings)
    client.set_tag(run_id, "decision", "waiting")
    client.set_tag(run_id, "waits_until", until)


@mlflow_errors
def log_approval(settings: Settings, run_id: str, why: str) -> None:
    """Say that a person has approved it."""
    say_what_came_of_it(place_of(settings, run_id), "promoted", why)


@mlflow_errors
def earlier_decisions(settings: Settings, name: str, test_digest: str, run_id: str) -> int:
    """How many other candidates the same frozen rows have decided about."""
    client = open_store(settings)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return 0
    decided = client.search_runs(
        [experiment.experiment_id], f"tags.{TEST_ROWS} = '{test_digest}'", max_results=MOST_RUNS
    )
    return sum(run.info.run_id != run_id for run in decided)


@mlflow_errors
def read_decision(settings: Settings, run_id: str) -> dict[str, Any] | None:
    """The content of a run's `decision.json`; None when nothing was decided about it."""
    from mlflow.artifacts import load_dict

    run = open_store(settings).get_run(run_id)
    if run.data.tags.get("decision") not in DECIDED:
        return None
    with artifact_errors(settings):
        content: dict[str, Any] = load_dict(f"{run.info.artifact_uri}/decision/decision.json")
    return content
