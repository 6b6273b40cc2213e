"""What became of a run, for the person who compares: reports, pictures, the card, why a delivery was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.errors import RejectedData
from components.records import EvaluationReport, TrainedModel
from components.registry.registration import log_scores
from components.registry.store import mlflow_errors, open_store
from components.reports.evaluation import FILES
from components.reports.model_card import without_header
from components.settings import Settings
from components.tracking.curves import send_history
from components.tracking.places import LONGEST_TAG, artifact_errors, place_of, say_what_came_of_it
from components.validation.noisy_rows import LabelNoise


@dataclass(frozen=True, slots=True)
class Rejection:
    """A delivery that was stopped: when (ISO 8601, UTC), why, and the MLflow run with the report."""

    time: str
    reason: str
    run_id: str


@mlflow_errors
def log_label_noise(settings: Settings, run_id: str, noise: LabelNoise) -> None:
    """Show how many training labels are likely wrong, and the table of them."""
    place = place_of(settings, run_id)
    values: dict[str, float | None] = {"share": noise.share, "suspects": noise.suspects, "removed": noise.removed}
    values |= {f"{noise.metric}_with_suspects": noise.before, f"{noise.metric}_without": noise.after}
    place.metrics({f"label_noise/{name}": value for name, value in values.items()})
    for path in sorted(noise.folder.glob("label_noise*")):
        place.upload(path, "validation")


@mlflow_errors
def log_rejection(settings: Settings, run_id: str, error: RejectedData) -> None:
    """Say why a delivery was stopped, with the report that names every failing row."""
    place = place_of(settings, run_id)
    say_what_came_of_it(place, "rejected", error.problem)
    note = f"**Rejected.** {error.problem}\n\nTo fix: {error.hint}"
    place.client.set_tag(run_id, "mlflow.note.content", note[:LONGEST_TAG])
    if error.report:  # an empty one would be the folder that the run was started in
        place.upload(Path(error.report), "validation")


@mlflow_errors
def log_training(settings: Settings, run_id: str, model: TrainedModel) -> None:
    """Say how the training went; its curves are complete after this."""
    place = place_of(settings, run_id)
    send_history(settings, run_id, model.history)
    place.metrics(
        {
            "train/best_epoch": model.best_epoch,
            "train/seconds": model.seconds,
            "train/rows_per_second": model.samples_per_second,
        }
    )
    for name, value in (("device", model.device), ("precision", model.precision)):
        place.client.set_tag(run_id, name, value)
    place.upload(model.history, "training")


@mlflow_errors
def log_evaluation(settings: Settings, run_id: str, report: EvaluationReport, pictures: Path | None = None) -> None:
    """Show the scores on the frozen rows, the report with every prediction, and the pictures."""
    place = place_of(settings, run_id)
    log_scores(place.client, run_id, report)
    if report.primary_metric in report.intervals:
        low, high = report.intervals[report.primary_metric]
        place.metrics({f"test/{report.primary_metric}_low": low, f"test/{report.primary_metric}_high": high})
    for name in FILES:
        if (report.folder / name).exists():
            place.upload(report.folder / name, "evaluation")
    if pictures is not None:
        place.upload(pictures, "evaluation")


@mlflow_errors
def log_card(settings: Settings, run_id: str, card: str) -> None:
    """Show the model card on the run's page, and keep it whole as README.md."""
    place = place_of(settings, run_id)
    place.client.set_tag(run_id, "mlflow.note.content", without_header(card)[:LONGEST_TAG])
    with artifact_errors(settings):
        place.client.log_text(run_id, card, "README.md")


@mlflow_errors
def last_rejection(settings: Settings, name: str) -> Rejection | None:
    """The delivery that validation stopped last, unless a later one was judged."""
    client = open_store(settings)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    judged = next(
        iter(
            client.search_runs(
                [experiment.experiment_id],
                "tags.decision != ''",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
        ),
        None,
    )
    if judged is None or judged.data.tags["decision"] != "rejected":
        return None
    when = datetime.fromtimestamp(judged.info.start_time / 1000, UTC).isoformat(timespec="seconds")
    return Rejection(when, judged.data.tags.get("reason", ""), judged.info.run_id)
