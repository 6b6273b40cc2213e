"""What a run leaves to read in Prefect: one artifact a step, and each step in a few words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from components.records import (
    SPLITS,
    CheckResult,
    EvaluationReport,
    OptimisedModel,
    PromotionDecision,
    RegisteredVersion,
    TokenizedDataset,
    TrainedModel,
    ValidatedDataset,
)
from components.reports.bundle_rules import Measured
from components.serving.proving import Proof

log = logging.getLogger("rebert.flows")


@contextmanager
def _or_not_at_all(key: str) -> Iterator[None]:
    """Publish for people what a run does not depend on: a server in trouble must not end the run."""
    try:
        yield
    except httpx.HTTPError as error:  # of Prefect's client, its own errors included
        log.warning("'%s' is not shown in Prefect: %s", key, str(error).partition("\n")[0])


def publish_checks(name: str, checks: Sequence[CheckResult]) -> None:
    """The table of validation checks, those that failed first."""
    rows = [
        {
            "check": check.name,
            "result": "passed" if check.passed else f"failed: {check.severity}",
            "rows": check.rows,
            "finding": check.sentence,
            "first rows": ", ".join(check.examples),
        }
        for check in sorted(checks, key=lambda check: (check.passed, check.name))
    ]
    with _or_not_at_all(key := f"{name}-validation"):
        create_table_artifact(rows, key=key, description=f"Validation of {name}")


def publish_file(name: str, step: str, file: Path) -> None:
    """A markdown file that a step has written, such as `decision.md`."""
    publish_text(name, step, file.read_text(encoding="utf-8"))


def publish_text(name: str, step: str, text: str) -> None:
    """A markdown text."""
    with _or_not_at_all(key := f"{name}-{step}"):
        create_markdown_artifact(text, key=key)


def publish_link(name: str, link: str, text: str) -> None:
    """A link to a page of MLflow's."""
    with _or_not_at_all(key := f"{name}-mlflow"):
        create_link_artifact(link, link_text=text, key=key, description=text)


def scores_table(report: EvaluationReport) -> str:
    """The scores of a report as markdown, with their intervals."""
    rows = [
        f"| {metric} | {value:.4f} | {_interval(report.intervals.get(metric))} |"
        for metric, value in report.metrics.items()
    ]
    head = f"Scored on {report.rows:,} frozen rows.\n\n| metric | value | 95 % interval |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def worst_classes(report: EvaluationReport, count: int = 10) -> str:
    """The labels with the lowest F1 as markdown."""
    content: dict[str, Any] = json.loads((report.folder / "report.json").read_text(encoding="utf-8"))
    if "per_class" not in content:
        return ""
    worst = sorted(content["per_class"], key=lambda row: float(row["f1"]))[:count]
    rows = [
        f"| {row['label']} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['support']} |"
        for row in worst
    ]
    return "| weakest labels | precision | recall | F1 | rows |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"


def training_table(model: TrainedModel) -> str:
    """How the training went, as markdown."""
    scores = "".join(f"| {name} | {value:.4f} |\n" for name, value in model.validation_metrics.items())
    return (
        "| | |\n|---|---|\n"
        f"| device | {model.device}, {model.precision} |\n"
        f"| time | {model.seconds:.1f} s, {model.samples_per_second:.0f} samples/s |\n"
        f"| best epoch | {model.best_epoch:g} |\n{scores}"
    )


def dataset_in_words(dataset: ValidatedDataset) -> str:
    rows = ", ".join(f"{dataset.rows[split]:,} {split}" for split in SPLITS if split in dataset.rows)
    labels = f"{len(dataset.labels)} labels, " if dataset.labels else ""
    used = dataset.feedback.get("used")
    sent = f", {used:,} of them from feedback" if used else ""
    return f"{rows} rows{sent}, {labels}{dataset.quarantined_rows} set aside"


def tokens_in_words(tokens: TokenizedDataset) -> str:
    long, cut = sum(tokens.long_rows.values()), sum(tokens.cut_rows.values())
    windows = f", {long:,} rows in several windows of {tokens.max_length}" if long else ""
    lost = sum(tokens.unreachable_rows.values())
    parts = [f"{sum(tokens.tokens.values()):,} tokens{windows}", f"{cut:,} rows cut", f"{lost:,} answers out of reach"]
    return ", ".join([parts[0], *([parts[1]] if cut else []), *([parts[2]] if lost else [])])


def tokens_table(tokens: TokenizedDataset) -> str:
    """What the model reads of each split, as markdown."""
    counts = (tokens.rows, tokens.tokens, tokens.windows, tokens.long_rows, tokens.cut_rows, tokens.unreachable_rows)
    rows = "".join(
        f"| {split} | {' | '.join(f'{count.get(split, 0):,}' for count in counts)} |\n" for split in tokens.rows
    )
    head = "| split | rows | tokens | windows | rows in several windows | rows cut | answers out of reach |\n"
    return f"At most {tokens.max_length} tokens at once.\n\n{head}|---|---|---|---|---|---|---|\n{rows}"


def training_in_words(model: TrainedModel) -> str:
    if not model.best_epoch:
        return f"nothing to learn: the base model as it is, on {model.device}"
    return (
        f"best epoch {model.best_epoch:g}, {model.samples_per_second:.0f} rows/s on {model.device} in {model.precision}"
    )


def report_in_words(report: EvaluationReport) -> str:
    metric = report.primary_metric
    return f"{metric} {report.metrics[metric]:.4f} {_interval(report.intervals.get(metric))} on {report.rows:,} rows"


def version_in_words(version: RegisteredVersion) -> str:
    return f"version {version.version}{'' if version.created else ', registered before'}"


def decision_in_words(decision: PromotionDecision) -> str:
    return decision.reason


def proof_in_words(proof: Proof) -> str:
    return (
        f"{proof.answers} answers by {proof.engine}, at most {proof.largest_difference:.1g} apart, ready in "
        f"{proof.start_seconds:.1f} s, p50 {proof.p50_ms:.1f} ms"
    )


def engines_table(model: OptimisedModel) -> str:
    """Every engine that was tried, as markdown."""
    rows = "".join(
        f"| {trial.engine} | {trial.megabytes:g} | {trial.milliseconds:g} | {trial.rows_per_second:g} | "
        f"{trial.score:.4f} | {trial.largest_difference:.2g} | {trial.reason} |\n"
        for trial in model.trials
    )
    head = f"| engine | MB | ms a short text | rows/s | {model.metric} | golden rows apart | |\n"
    return f"{head}|---|---|---|---|---|---|---|\n{rows}"


def as_table(measured: Proof | Measured) -> str:
    """What was measured on the running bundle, as markdown."""
    rows = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in asdict(measured).items())
    return f"| | |\n|---|---|\n{rows}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
