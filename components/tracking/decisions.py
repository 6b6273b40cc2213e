"""What was decided about a run's candidate: by the gate, by its bundle's numbers, by a person."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.digests import canonical
from components.records import PromotionDecision, as_json
from components.registry.store import mlflow_errors, open_store
from components.reports.bundle_rules import DECISION, Measured
from components.reports.decision_words import decision_in_words
from components.settings import Settings
from components.tracking.places import artifact_errors, place_of, say_what_came_of_it

TEST_ROWS = "test_rows"  # tag of a run: the digest of the frozen rows that decided about it
MOST_RUNS = 10_000  # that one set of frozen rows is believed to have decided about
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
    if (decision.folder / DECISION).exists():
        with _as_it_is_now(decision) as folder:
            place.upload(folder, "decision")
    else:
        with artifact_errors(settings):
            place.client.log_dict(run_id, as_json(decision), "decision/decision.json")


@contextmanager
def _as_it_is_now(decision: PromotionDecision) -> Iterator[Path]:
    """The decision's folder, with its champion's number of now where the file is of a time when it had another."""
    content = json.loads((decision.folder / DECISION).read_text(encoding="utf-8"))
    if content.get("champion_version", decision.champion_version) == decision.champion_version:
        yield decision.folder
        return
    with TemporaryDirectory() as place:
        folder = Path(place) / "decision"
        shutil.copytree(decision.folder, folder)
        content["champion_version"] = decision.champion_version
        (folder / DECISION).write_text(canonical(content), encoding="utf-8")
        (folder / "decision.md").write_text(decision_in_words(content), encoding="utf-8")
        yield folder


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
