"""Pictures of an evaluation and of a training: `report.json` and `history.jsonl` in, a folder of PNG files out.

Drawn without a screen and without matplotlib's global state, so that a scheduled run may draw in any thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.reports.confusion_plot import draw_confusion
from components.reports.metric_words import begin_with_capital, metric_words
from components.reports.plot_style import BLUE, GREY, INK, ORANGE, make_plain, new_figure, save, set_title, shown_names

MOST_BARS = 30


def draw_evaluation(report: Path, folder: Path) -> list[Path]:
    """Draw what a report has: the confusion matrix, the reliability diagram, the F1 of each label, pairs of numbers.

    Args:
        report: `report.json` of an evaluation.
        folder: where the PNG files go.
    """
    content = json.loads(report.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if "confusion" in content:
        drawn.append(draw_confusion(content["labels"], content["confusion"], folder / "confusion.png"))
    if "reliability" in content:
        ece = content["metrics"].get("expected_calibration_error", 0.0)
        drawn.append(draw_reliability(content["reliability"], ece, folder / "reliability.png"))
    if "per_class" in content:
        drawn.append(draw_f1(content["per_class"], folder / "f1_by_label.png"))
    if content.get("pairs"):
        drawn.append(draw_numbers(content["pairs"], folder / "numbers.png"))
    return drawn


def draw_reliability(bins: Sequence[Mapping[str, float]], ece: float, path: Path) -> Path:
    """Draw accuracy against confidence, with the rows of each bin below."""
    figure = new_figure(6.4, 6.4)
    upper, lower = figure.subplots(2, 1, height_ratios=[3.4, 1], sharex=True)
    confidence, accuracy = [row["confidence"] for row in bins], [row["accuracy"] for row in bins]
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    upper.vlines(confidence, confidence, accuracy, color=ORANGE, linewidth=5, alpha=0.35, label="difference")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", linewidth=1.8, label="this model")
    upper.set(ylim=(-0.02, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left", frameon=False)
    set_title(upper, "Is the model as sure as it is right?", f"expected calibration error {ece:.3f}")
    lower.bar(confidence, [row["rows"] for row in bins], width=0.045, color=BLUE, alpha=0.75)
    lower.set(xlim=(0, 1.02), xlabel="confidence", ylabel="rows")
    for axes in (upper, lower):
        make_plain(axes, grid="both")
    return save(figure, path)


def draw_numbers(pairs: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Draw the numbers that a model gives against the true ones."""
    truth, said = [row["truth"] for row in pairs], [row["said"] for row in pairs]
    ends = [min(*truth, *said), max(*truth, *said)]
    figure = new_figure(6.4, 6.0)
    axes = figure.add_subplot()
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="as true")
    axes.scatter(truth, said, s=14, color=BLUE, alpha=0.45, linewidths=0, label="rows")
    axes.set(xlabel="true number", ylabel="number of the model")
    axes.legend(loc="upper left", frameon=False)
    set_title(axes, "True and given numbers", f"{len(pairs):,} rows")
    make_plain(axes, grid="both")
    return save(figure, path)


def draw_f1(per_class: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw the F1 of each label with its support; of many labels the lowest."""
    worst_first = sorted(per_class, key=lambda row: (row["f1"], row["label"]))
    shown = worst_first[:MOST_BARS][::-1]  # matplotlib counts from below
    figure = new_figure(8.2, 1.7 + 0.27 * len(shown))
    axes = figure.add_subplot()
    names = dict(
        zip([row["label"] for row in per_class], shown_names([row["label"] for row in per_class]), strict=True)
    )
    axes.barh(range(len(shown)), [row["f1"] for row in shown], color=BLUE, height=0.68)
    axes.set_yticks(range(len(shown)), [names[row["label"]] for row in shown])
    for place, row in enumerate(shown):
        axes.text(row["f1"] + 0.008, place, f"{row['f1']:.2f}", va="center", fontsize=8.5, color=INK)
        axes.text(1.12, place, f"{row['support']:,}", va="center", ha="right", fontsize=8.5, color=GREY)
    axes.text(1.12, len(shown) - 0.35, "rows", ha="right", va="bottom", fontsize=8.5, color=GREY)
    axes.set(xlim=(0, 1.13), ylim=(-0.6, len(shown) - 0.4), xlabel="F1", xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    part = f"the lowest {len(shown)} of {len(per_class)} labels" if len(shown) < len(per_class) else "all labels"
    set_title(axes, "F1 by label", part)
    make_plain(axes, grid="x")
    return save(figure, path)


def draw_training(history: Path, metric: str, best_epoch: float, path: Path) -> Path:
    """Draw the losses and the validation score by epoch.

    Args:
        history: `history.jsonl` of a training.
        metric: name of the primary metric.
        best_epoch: the epoch whose weights were kept.
        path: of the PNG file.
    """
    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    figure = new_figure(8.2, 4.4)
    left, right = figure.subplots(1, 2)
    for name, color, marker in (("train_loss", GREY, ""), ("validation_loss", ORANGE, "o")):
        left.plot(*_curve(lines, name), color=color, marker=marker, label=name.replace("_", " "))
    right.plot(
        *_curve(lines, f"validation_{metric}"), color=BLUE, marker="o", label=f"validation {metric_words(metric)}"
    )
    for axes, subject in ((left, "Loss"), (right, begin_with_capital(metric_words(metric)))):
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, label="kept weights")
        axes.set(xlabel="epoch")
        axes.set_xlim(0, max(line["epoch"] for line in lines) * 1.04)
        axes.legend(frameon=False)
        set_title(axes, subject, "")
        make_plain(axes, grid="both")
    left.set_ylim(bottom=0)
    return save(figure, path)


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(line["epoch"], line["metrics"][name]) for line in lines if name in line["metrics"]]
    return [epoch for epoch, _ in points], [value for _, value in points]
