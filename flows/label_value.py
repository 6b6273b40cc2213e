"""`rebert label-value`: what more labels would buy, measured without the frozen rows; nothing is registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from components.config import RunConfig
from components.digests import digest_of
from components.records import BaseModel, ValidatedDataset, as_json
from components.settings import Settings
from components.step_store import storage_errors
from components.training.devices import choose_device
from flows import console
from flows.labelling import chosen_version

if TYPE_CHECKING:
    from components.labelling.curve_points import Method
    from components.labelling.label_value import LabelValue


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose labels: the settings, the rows and the base model of a run."""

    config: RunConfig
    dataset: ValidatedDataset
    base: BaseModel


def show_label_value(
    target: str,
    settings: Settings,
    *,
    method: Method,
    more: int | None,
    seeds: int,
    output: Path | None,
    as_json_object: bool,
) -> None:
    """Estimate, print and keep what more labels would buy.

    Args:
        target: a run file, or the name of a model.
        output: a folder that gets the table and the picture as well.

    Raises:
        ProjectError: there is no such thing, its rows are too few, or more is asked than the curve can say.
    """
    from components.labelling.curve_points import Work
    from components.labelling.label_value import estimate_value, write_value

    subject = _of_run_file(Path(target), settings) if _is_file(target) else _of_champion(target, settings)
    listener, scratch = console.ConsoleListener(), settings.home / "scratch"
    device = choose_device(subject.config.training).device
    with storage_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=scratch, prefix=f"label-value-{subject.config.name}-") as place:
            work = Work(subject.config, subject.dataset, subject.base, Path(place), device)
            try:
                listener.started("learning curve")
                value = estimate_value(
                    work,
                    method,
                    more,
                    seeds,
                    lambda done, all_, text: listener.progressed("learning curve", done / all_, text),
                )
            finally:
                listener.close()
            folder = Path(place) / "written"
            write_value(value, folder)
            run_id = _keep(settings, subject, value, folder)
            if output is not None:
                write_value(value, output)
    _print(value, run_id, output, as_json_object)


def _is_file(target: str) -> bool:
    return target.endswith((".yaml", ".yml")) or Path(target).is_file()


def _of_run_file(run_file: Path, settings: Settings) -> Subject:
    """The rows that a run would train on now; validated if they were not yet."""
    from components.planning import find_validated
    from components.run_files import read_run_file
    from components.step_parts import validate_step
    from components.validation.examination import validate_dataset
    from flows.job import open_job
    from flows.progress import RunLog

    job = open_job(read_run_file(run_file), settings, RunLog())
    labels = job.champion.labels if job.champion else None
    dataset = find_validated(job.inputs, job.store) or job.store.run(
        validate_step(job.inputs),
        lambda folder: validate_dataset(job.config, job.base, labels, folder, files=job.inputs.files),
    )
    return Subject(job.config, dataset, job.base)


def _of_champion(name: str, settings: Settings) -> Subject:
    """The rows that the live version was trained on."""
    from components.labelling.known_rows import rows_behind
    from components.tracking import read_recipe
    from flows.job import find_base_model

    recipe, _ = read_recipe(settings, chosen_version(settings, name, None))
    config = recipe.run_config()
    base = find_base_model(settings, recipe.base, recipe.folder, config.model.sha256)
    return Subject(config, rows_behind(recipe, base, settings), base)


def _keep(settings: Settings, subject: Subject, value: LabelValue, folder: Path) -> str:
    """The MLflow run with the result; the same rows and method again are the same run."""
    from components import tracking

    asked = ["label value", subject.dataset.digest, subject.base.digest, value.method, value.forecasts[-1].more]
    tags = {"data_digest": subject.dataset.digest, "base_model_digest": subject.base.digest}
    run_id = tracking.start_run(settings, subject.config, digest_of(asked), tags=tags)
    with tracking.running(settings, run_id):
        tracking.log_label_value(settings, run_id, value, folder)
    return run_id


def _print(value: LabelValue, run_id: str, output: Path | None, as_json_object: bool) -> None:
    from components.labelling.label_value import check_in_words, forecasts_of, points_of
    from components.reports.metric_words import metric_words

    if as_json_object:
        console.print_json({**as_json(value), "run_id": run_id, "output": str(output) if output else None})
        return
    points = [
        (f"{n:,}", f"{mean:.4f}", f"{low:.4f} to {high:.4f}", f"{fit:.4f}")
        for n, mean, low, high, fit in points_of(value)
    ]
    console.print_table("measured", ("training rows", metric_words(value.metric), "of the seeds", "curve"), points)
    console.print_table("expected", ("more rows", "score", "gain in points (95 % interval)"), forecasts_of(value))
    console.print_text(value.sentence)
    console.say(check_in_words(value))
    kept = f", and in {output}" if output else ""
    console.say(f"The table and the picture are in MLflow run {run_id}, label_value{kept}.")
