"""What became of a run, for the person who compares: data sets, reports, pictures, the card, the decision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any

from components.digests import digest_file, digest_of
from components.errors import BundleError, ProjectError, RegistryAway, RegistryError, RejectedData
from components.models.engines import read_facts
from components.records import (
    SPLITS,
    Bundle,
    EvaluationReport,
    OptimisedModel,
    Split,
    TrainedModel,
    ValidatedDataset,
)
from components.registry.registration import SHORT_DIGEST, log_scores
from components.registry.store import is_away, mlflow_errors, open_store
from components.reports.evaluation import FILES
from components.reports.model_card import without_header
from components.settings import Settings, without_passwords
from components.step_store import MARKER, storage_errors
from components.tracking.curves import send_history
from components.validation.noisy_rows import LabelNoise

LONGEST_TAG = 8000  # characters in MLflow's database
LONGEST_SOURCE = 65_535  # bytes in MLflow's database
LARGEST_FILE = 100 << 20  # bytes; larger tables stay in the step's folder
NAMES_OF_CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A delivery that was stopped: when (ISO 8601, UTC), why, and the MLflow run with the report."""

    time: str
    reason: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """The artifacts and metrics of a run."""

    client: Any
    run_id: str
    settings: Settings

    def upload(self, source: Path, folder: str) -> None:
        """Put a file, or the files of a folder, below `folder` of the run's artifacts."""
        files = [source] if source.is_file() else [path for path in sorted(source.rglob("*")) if path.is_file()]
        with artifact_errors(self.settings):
            for path in files:
                if path.stat().st_size > LARGEST_FILE or path.name == MARKER:
                    continue
                below = path.parent.relative_to(source) if source.is_dir() else Path()
                self.client.log_artifact(self.run_id, str(path), (Path(folder) / below).as_posix())

    def metrics(self, values: dict[str, float | None]) -> None:
        """Log single numbers, where they are not what the run says already."""
        from mlflow.entities import Metric

        now = int(time() * 1000)
        logged = self.client.get_run(self.run_id).data.metrics
        known = {name: float(value) for name, value in values.items() if value is not None}
        new = [Metric(name, value, now, 0) for name, value in known.items() if logged.get(name) != value]
        self.client.log_batch(self.run_id, new)


def place_of(settings: Settings, run_id: str) -> Place:
    """Where what became of a run is kept."""
    return Place(open_store(settings), run_id, settings)


@mlflow_errors
def log_dataset(settings: Settings, run_id: str, dataset: ValidatedDataset) -> None:
    """Name the data of a run: each split with its files, rows and digest, and the report of the validation."""
    from mlflow.entities import DatasetInput, InputTag

    place = place_of(settings, run_id)
    inputs = [
        DatasetInput(_dataset(dataset, split), [InputTag("mlflow.data.context", NAMES_OF_CONTEXTS[split])])
        for split in SPLITS
        if dataset.rows.get(split)
    ]
    if dataset.feedback:
        inputs.append(DatasetInput(_feedback(dataset), [InputTag("mlflow.data.context", "feedback")]))
    place.client.log_inputs(run_id, inputs)
    splits = {dataset.split_file(split) for split in SPLITS}
    for path in sorted(dataset.folder.iterdir()):
        if path not in splits:
            place.upload(path, f"validation/{path.name}" if path.is_dir() else "validation")


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
def log_engines(settings: Settings, run_id: str, model: OptimisedModel) -> None:
    """Say what each engine that was tried came to, and keep the one that was taken: no other run can build it again."""
    place = place_of(settings, run_id)
    measured = ("score", "loss", "milliseconds", "rows_per_second", "megabytes", "largest_difference")
    place.metrics(
        {f"engine/{trial.engine}/{name}": getattr(trial, name) for trial in model.trials for name in measured}
    )
    place.client.set_tag(run_id, "engine", model.engine)
    with artifact_errors(settings):
        place.client.log_artifact(run_id, str(model.folder / "engines.json"), "engine")
        if model.engine_folder:
            place.client.log_artifacts(run_id, str(model.engine_folder), "engine/built")


@mlflow_errors
def fetch_engine(settings: Settings, run_id: str, model_digest: str) -> Path | None:
    """The built engine that a run has left, below `settings.models`; None where it left none or another model's."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    folder = settings.models / f"engine-{run_id}"
    with artifact_errors(settings):
        if not folder.exists():
            if not list_artifacts(run_id=run_id, artifact_path="engine/built", tracking_uri=settings.tracking_uri):
                return None
            settings.models.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=settings.models, prefix=".engine-") as scratch:
                fetched = download_artifacts(
                    run_id=run_id,
                    artifact_path="engine/built",
                    dst_path=scratch,
                    tracking_uri=settings.tracking_uri,
                )
                Path(fetched).rename(folder)
    try:
        return folder if read_facts(folder).model_digest == model_digest else None
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
        return None


@mlflow_errors
def log_bundle(settings: Settings, run_id: str, bundle: Bundle) -> None:
    """Name the bundle that was made of a run's model."""
    open_store(settings).set_tag(run_id, "bundle", bundle.tag)


@mlflow_errors
def was_bundled(settings: Settings, run_id: str) -> bool:
    """Whether a bundle was made of a run's model; of a base model that was pretrained none is."""
    return "bundle" in open_store(settings).get_run(run_id).data.tags


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


def say_what_came_of_it(place: Place, decision: str, reason: str) -> None:
    """The two tags that people see as columns in the list of runs."""
    place.client.set_tag(place.run_id, "decision", decision)
    place.client.set_tag(place.run_id, "reason", reason[:LONGEST_TAG])


def _dataset(dataset: ValidatedDataset, split: Split) -> Any:
    from mlflow.entities import Dataset

    return Dataset(
        name=split,
        digest=digest_file(dataset.split_file(split))[:SHORT_DIGEST],
        source_type="local",
        source=_source(dataset.source_digests),
        schema=_schema(dataset.split_file(split)),
        profile=json.dumps({"num_rows": dataset.rows[split], "labels": len(dataset.labels)}),
    )


def _feedback(dataset: ValidatedDataset) -> Any:
    """The corrections among the training rows: their files, and what became of them; `feedback.jsonl` has each."""
    from mlflow.entities import Dataset

    lines = (dataset.folder / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    named = {json.loads(line)["file"] for line in lines}
    return Dataset(
        name="feedback",
        digest=digest_file(dataset.folder / "feedback.jsonl")[:SHORT_DIGEST],
        source_type="local",
        source=_source({name: digest for name, digest in dataset.source_digests.items() if name in named}),
        profile=json.dumps({"num_rows": dataset.feedback["used"], **dataset.feedback}),
    )


def _source(digests: Mapping[str, str]) -> str:
    """The files with their digests; of very many only how many they are and one digest of all."""
    named = json.dumps({"files": dict(digests)}, ensure_ascii=False)
    if len(named.encode()) <= LONGEST_SOURCE:
        return named
    return json.dumps({"file_count": len(digests), "digest": digest_of(dict(digests))})


def _schema(parquet: Path) -> str:
    import pyarrow.parquet as pq
    from mlflow.types import ColSpec, Schema

    return json.dumps(
        {"mlflow_colspec": Schema([ColSpec("string", name) for name in pq.read_schema(parquet).names]).to_dict()}
    )


@contextmanager
def artifact_errors(settings: Settings) -> Iterator[None]:
    """Turn what an artifact store raises into our errors; each store (disk, S3, server) has exceptions of its own."""
    from mlflow.exceptions import MlflowException

    try:
        with storage_errors(settings.artifacts):
            yield
    except (ProjectError, MlflowException):
        raise
    except Exception as error:
        kind = RegistryAway if is_away(error) else RegistryError
        where = without_passwords(settings.tracking_uri)
        raise kind(
            f"The artifact store of MLflow at {where} does not work: {without_passwords(str(error))}",
            "check its address, its rights and, for S3, the AWS_ variables; then run again.",
        ) from error
