"""The model card: what a model is, what it learned from, how good it is and where its limits are, for a person.

Markdown with the YAML header of the Hugging Face hub, so that its tools read the scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.config import RunConfig
from components.models.model_directory import Manifest, read_golden, read_manifest
from components.records import EvaluationReport, TrainedModel, ValidatedDataset
from components.reports.metric_words import HUB_METRICS, begin_with_capital, metric_number, metric_words
from components.reports.mistakes import mistake_cells
from components.task_types import find_task_type
from components.validation.feedback_words import feedback_in_words

MOST_LABELS_NAMED = 100
MOST_CLASSES = 10
LEARNED = """\
- It has seen texts like those it was trained on. On texts of another kind, time, place or language it is worse, and the
  scores above do not say by how much.
- What is unfair or wrong in the training data, it has learned. The scores by slice, if any, show differences between
  the groups that were named in the run file; nothing else was examined for bias.
"""
ADOPTED = """\
- What is unfair or wrong in the texts that the base model has read, it has learned; nothing was examined for bias here.
"""
ALWAYS = """\
- BERT models do not explain themselves. Where an answer has consequences for a person, a person should make it."""


def write_model_card(
    config: RunConfig,
    dataset: ValidatedDataset,
    model: TrainedModel,
    report: EvaluationReport,
    *,
    license_id: str = "unknown",
) -> str:
    """The model card as markdown.

    Args:
        license_id: identifier of the hub, such as apache-2.0; unknown where nobody has said.
    """
    manifest = read_manifest(model.folder)
    content = json.loads((report.folder / "report.json").read_text(encoding="utf-8"))
    parts = [
        _header(config, manifest, report, license_id),
        f"# {config.name}",
        config.description,
        _summary(dataset, report, manifest),
        _purpose(manifest),
        _scores(report, content),
        _slices(content["slices"]),
        _mistakes(content.get("mistakes", [])),
        _data(dataset, manifest),
        _training(config, manifest, model),
        _limits(manifest),
        _usage(manifest, model.folder),
        _labels(manifest),
        _origin(manifest, model, report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(config: RunConfig, manifest: Manifest, report: EvaluationReport, license_id: str) -> str:
    task = {"type": find_task_type(manifest.task_type).hub_task}
    metrics = [
        {"type": HUB_METRICS[name], "name": metric_words(name), "value": round(value, 4)}
        for name, value in report.metrics.items()
        if name in HUB_METRICS
    ]
    frozen = {
        "name": f"{config.name}, frozen rows",
        "type": config.name,
        "split": "test",
        "revision": report.test_digest,
    }
    header = {
        "license": license_id,
        "library_name": "transformers",
        "pipeline_tag": task["type"],
        "tags": ["bert", "rebert"],
        "metrics": sorted({str(metric["type"]) for metric in metrics}),
        "model-index": [{"name": config.name, "results": [{"task": task, "dataset": frozen, "metrics": metrics}]}],
    }
    return f"---\n{yaml.safe_dump(header, allow_unicode=True, sort_keys=False, width=120)}---"


def without_header(card: str) -> str:
    """A card without its YAML header and its title, for pages that show neither."""
    body = card.split("\n---\n", 1)[-1].lstrip() if card.startswith("---\n") else card
    title, _, rest = body.partition("\n")
    return rest.lstrip() if title.startswith("# ") else body


def _summary(dataset: ValidatedDataset, report: EvaluationReport, manifest: Manifest) -> str:
    name = report.primary_metric
    low_high = "95 % interval {:.4f} to {:.4f}".format(*report.intervals[name]) if name in report.intervals else ""
    interval = f" ({low_high})" if low_high else ""
    labels = f"{len(manifest.labels)} labels, " if manifest.labels else ""
    trains = find_task_type(manifest.task_type).trains
    source = f"learned from {dataset.rows['train']:,} rows" if trains else "nothing learned: the base model as it is"
    score = f"{begin_with_capital(metric_words(name))} {report.metrics[name]:.4f}"
    return f"**{score}**{interval} on {report.rows:,} frozen rows; {labels}{source}."


def _purpose(manifest: Manifest) -> str:
    what = find_task_type(manifest.task_type).purpose
    return (
        f"## What it does\n\n{what} What is longer than {manifest.max_length} tokens is read in windows that share "
        f"{manifest.window_overlap}."
    )


def _limits(manifest: Manifest) -> str:
    task_type = find_task_type(manifest.task_type)
    return f"## Limits and bias\n\n- {task_type.limits}\n{LEARNED if task_type.trains else ADOPTED}{ALWAYS}"


def _labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return ""
    shown = ", ".join(f"`{label}`" for label in manifest.labels[:MOST_LABELS_NAMED])
    more = len(manifest.labels) - MOST_LABELS_NAMED
    return f"## Labels\n\n{shown}{f' and {more} more, in `manifest.json`' if more > 0 else ''}."


def _data(dataset: ValidatedDataset, manifest: Manifest) -> str:
    trains = find_task_type(manifest.task_type).trains
    purpose = {
        "train": "training" if trains else "the list of labels",
        "validation": "choice of the best epoch, calibration" if trains else "calibration",
        "test": "the scores above",
    }
    rows = [(split, f"{dataset.rows[split]:,}", purpose[split]) for split in purpose if split in dataset.rows]
    files = [(f"`{name}`", f"`{digest[:16]}`") for name, digest in sorted(dataset.source_digests.items())]
    were = "row was" if dataset.quarantined_rows == 1 else "rows were"
    aside = f"{dataset.quarantined_rows:,} {were} set aside by the validation."
    sent = feedback_in_words(dataset.feedback)
    return "\n\n".join(
        [
            "## Data",
            _table(("split", "rows", "used for"), rows),
            f"{aside} {sent}{' ' if sent else ''}Digest of the rows: `{manifest.data_digest[:16]}`.",
            _table(("file", "SHA-256 begins with"), files) if files else "",
        ]
    ).strip()


def _training(config: RunConfig, manifest: Manifest, model: TrainedModel) -> str:
    training = config.training
    fitted = {name: value for name, value in manifest.fitted.items() if isinstance(value, int | float)}
    learning = [
        ("epochs", f"at most {training.epochs:g}, the weights of epoch {model.best_epoch:g} kept"),
        ("rows a step", f"{training.batch_size * training.accumulation_steps}"),
        ("learning rate", f"{training.learning_rate:g}, {training.warmup_share:.0%} warm-up"),
        ("seed", f"{training.seed}"),
    ]
    trains = find_task_type(manifest.task_type).trains
    chosen = {name: value for name, value in manifest.settings.items() if value not in (None, "", {})}
    speed = f", {model.samples_per_second:,.0f} rows/s" if trains else ""
    rows = [
        ("base model", f"`{manifest.base_model}` (`{manifest.base_model_digest[:16]}`)"),
        *(learning if trains else [("epochs", "none: this type of model does not learn")]),
        *((f"task.{name}", f"`{json.dumps(value, ensure_ascii=False)}`") for name, value in chosen.items()),
        ("device", f"{model.device}, {model.precision}"),
        ("time", f"{model.seconds:,.0f} s{speed}"),
        *((name.replace("_", " "), f"{value:g}, fitted on the validation rows") for name, value in fitted.items()),
    ]
    return f"## Training\n\n{_table(('', ''), rows)}"


def _scores(report: EvaluationReport, content: Mapping[str, Any]) -> str:
    rows = [
        (
            f"**{metric_words(name)}**" if name == report.primary_metric else metric_words(name),
            metric_number(name, value),
            "{:.4f} to {:.4f}".format(*report.intervals[name]) if name in report.intervals else "",
        )
        for name, value in sorted(report.metrics.items(), key=lambda item: _rank(item[0], report))
    ]
    parts = [
        f"## Scores\n\nOn {report.rows:,} rows that nothing was learned from.",
        _table(("metric", "score", "95 % interval"), rows),
    ]
    return "\n\n".join([*parts, *_worst_classes(content.get("per_class", []))])


def _rank(metric: str, report: EvaluationReport) -> tuple[bool, bool]:
    """The primary metric first, then those with an interval."""
    return metric != report.primary_metric, metric not in report.intervals


def _worst_classes(per_class: Sequence[Mapping[str, Any]]) -> list[str]:
    worst = sorted(per_class, key=lambda row: (row["f1"], row["label"]))[:MOST_CLASSES]
    if not worst:
        return []
    names = [name for name in ("precision", "recall", "f1", "average_precision", "threshold") if name in worst[0]]
    classes = [(f"`{row['label']}`", *(f"{row[name]:.2f}" for name in names), f"{row['support']:,}") for row in worst]
    which = "" if len(worst) == len(per_class) else f", the {len(worst)} that it knows worst"
    return [f"By label{which}:", _table(("label", *map(metric_words, names), "rows"), classes)]


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(row["column"]),
            f"`{row['value']}`",
            f"{row['score']:.4f}",
            f"{row['rows']:,}{'' if row['judged'] else ' (too few to judge)'}",
        )
        for row in slices
    ]
    return f"## Scores by slice\n\n{_table(('column', 'value', 'score', 'rows'), rows)}" if rows else ""


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> str:
    head, rows = mistake_cells(mistakes)
    more = "More of them: `evaluation/mistakes.csv`."
    return f"## Mistakes it was surest of\n\n{_table(head, rows)}\n\n{more}" if rows else ""


def _usage(manifest: Manifest, model: Path) -> str:
    row = dict.fromkeys(read_golden(model)[0].row, "...")
    return f"""## How to call it

```python
import mlflow

model = mlflow.pyfunc.load_model("models:/{manifest.name}@champion")
model.predict([{json.dumps(row)}])
```

The endpoint that `rebert serve {manifest.name}` starts gives the same answers over HTTP."""


def _origin(manifest: Manifest, model: TrainedModel, report: EvaluationReport) -> str:
    rows = [
        ("model", f"`{model.digest}`"),
        ("code", f"`{manifest.code_digest}`"),
        ("training data", f"`{manifest.data_digest}`"),
        ("frozen rows", f"`{report.test_digest}`"),
    ]
    return f"## Digests\n\n{_table(('', 'SHA-256'), rows)}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
