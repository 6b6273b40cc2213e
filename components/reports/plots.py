"""Pictures of an evaluation and of a training: `report.json` and `history.jsonl` in, a folder of PNG files out.

Drawn without a screen and without matplotlib's global state, so that a scheduled run may draw in any thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

BLUE, ORANGE, GREY, LIGHT, INK = "#2563a8", "#d9731a", "#8a94a3", "#e6eaf0", "#1f2937"
MOST_LABELS_IN_FULL = 20  # a matrix of more labels has cells too small for a number
CHARACTERS_BESIDE_EACH_OTHER = 36
MOST_PAIRS = 20
MOST_BARS = 30
LONGEST_LABEL = 34  # characters
DOTS_PER_INCH = 130
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Arial Unicode MS",
)  # fmt: skip


def draw_evaluation(report: Path, folder: Path) -> list[Path]:
    """Draw what a report has of these: the confusion matrix, the reliability diagram and the F1 of each label.

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
    return drawn


def draw_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> Path:
    """Draw which labels are taken for which; for many labels a map and the pairs that are confused most."""
    import numpy as np

    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (truth, predicted)
    names = _names(labels)
    if len(labels) <= MOST_LABELS_IN_FULL:
        side = 3.6 + 0.52 * len(labels)
        figure = _figure(side + 0.9, side)
        _draw_full_matrix(figure.add_subplot(), figure, names, matrix, shares)
    else:
        figure = _figure(15, 8.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
        _draw_map(left, figure, shares)
        _draw_pairs(right, names, matrix)
    return _save(figure, path)


def draw_reliability(bins: Sequence[Mapping[str, float]], ece: float, path: Path) -> Path:
    """Draw accuracy against confidence, with the rows of each bin below."""
    figure = _figure(6.4, 6.4)
    upper, lower = figure.subplots(2, 1, height_ratios=[3.4, 1], sharex=True)
    confidence, accuracy = [row["confidence"] for row in bins], [row["accuracy"] for row in bins]
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    upper.vlines(confidence, confidence, accuracy, color=ORANGE, linewidth=5, alpha=0.35, label="difference")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", linewidth=1.8, label="this model")
    upper.set(ylim=(-0.02, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left", frameon=False)
    _title(upper, "Is the model as sure as it is right?", f"expected calibration error {ece:.3f}")
    lower.bar(confidence, [row["rows"] for row in bins], width=0.045, color=BLUE, alpha=0.75)
    lower.set(xlim=(0, 1.02), xlabel="confidence", ylabel="rows")
    for axes in (upper, lower):
        _plain(axes, grid="both")
    return _save(figure, path)


def draw_f1(per_class: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw the F1 of each label with its support; of many labels the lowest."""
    worst_first = sorted(per_class, key=lambda row: (row["f1"], row["label"]))
    shown = worst_first[:MOST_BARS][::-1]  # matplotlib counts from below
    figure = _figure(8.2, 1.7 + 0.27 * len(shown))
    axes = figure.add_subplot()
    names = dict(zip([row["label"] for row in per_class], _names([row["label"] for row in per_class]), strict=True))
    axes.barh(range(len(shown)), [row["f1"] for row in shown], color=BLUE, height=0.68)
    axes.set_yticks(range(len(shown)), [names[row["label"]] for row in shown])
    for place, row in enumerate(shown):
        axes.text(row["f1"] + 0.008, place, f"{row['f1']:.2f}", va="center", fontsize=8.5, color=INK)
        axes.text(1.12, place, f"{row['support']:,}", va="center", ha="right", fontsize=8.5, color=GREY)
    axes.text(1.12, len(shown) - 0.35, "rows", ha="right", va="bottom", fontsize=8.5, color=GREY)
    axes.set(xlim=(0, 1.13), ylim=(-0.6, len(shown) - 0.4), xlabel="F1", xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    part = f"the lowest {len(shown)} of {len(per_class)} labels" if len(shown) < len(per_class) else "all labels"
    _title(axes, "F1 by label", part)
    _plain(axes, grid="x")
    return _save(figure, path)


def draw_training(history: Path, metric: str, best_epoch: float, path: Path) -> Path:
    """Draw the losses and the validation score by epoch.

    Args:
        history: `history.jsonl` of a training.
        metric: name of the primary metric.
        best_epoch: the epoch whose weights were kept.
        path: of the PNG file.
    """
    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    figure = _figure(8.2, 4.4)
    left, right = figure.subplots(1, 2)
    for name, color, marker in (("train_loss", GREY, ""), ("validation_loss", ORANGE, "o")):
        left.plot(*_curve(lines, name), color=color, marker=marker, label=name.replace("_", " "))
    right.plot(*_curve(lines, f"validation_{metric}"), color=BLUE, marker="o", label=f"validation {_words(metric)}")
    for axes, subject in ((left, "Loss"), (right, _words(metric).capitalize())):
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, label="kept weights")
        axes.set(xlabel="epoch")
        axes.set_xlim(0, max(line["epoch"] for line in lines) * 1.04)
        axes.legend(frameon=False)
        _title(axes, subject, "")
        _plain(axes, grid="both")
    left.set_ylim(bottom=0)
    return _save(figure, path)


def _draw_full_matrix(axes: Any, figure: Any, names: Sequence[str], matrix: Any, shares: Any) -> None:
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    fits = max(map(_width, names)) * len(names) < CHARACTERS_BESIDE_EACH_OTHER
    axes.set_xticks(places, names, rotation=0 if fits else 40, ha="center" if fits else "right", rotation_mode="anchor")
    axes.tick_params(axis="x", pad=8 if fits else 3)
    axes.set_yticks(places, names)
    for truth in places:
        for predicted in places:
            if matrix[truth, predicted]:
                color = "white" if shares[truth, predicted] > 0.55 else INK
                text = f"{matrix[truth, predicted]:,}"
                axes.text(predicted, truth, text, ha="center", va="center", fontsize=8.5, color=color)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.tick_params(length=0)
    _title(axes, "What is taken for what", f"rows; colour is the share of each true label, {matrix.sum():,} in all")
    _color_bar(figure, image, axes)


def _draw_map(axes: Any, figure: Any, shares: Any) -> None:
    from matplotlib.colors import PowerNorm

    count = len(shares)
    # A root scale: with 77 labels a mistake is a few per cent of its row, and should be seen.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    ticks = range(9, count, 10)
    axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set(xlabel="predicted label, by number in the alphabet", ylabel="true label, by number in the alphabet")
    _title(axes, f"What is taken for what: {count} labels", "share of each true label")
    _color_bar(figure, image, axes)


def _draw_pairs(axes: Any, names: Sequence[str], matrix: Any) -> None:
    wrong = [(matrix[t, p], t, p) for t in range(len(names)) for p in range(len(names)) if t != p and matrix[t, p]]
    worst = sorted(wrong, key=lambda pair: (-pair[0], pair[1], pair[2]))[:MOST_PAIRS][::-1]
    titles = [f"{names[truth]}\nas {names[predicted]}" for _, truth, predicted in worst]
    axes.barh(range(len(worst)), [count for count, _, _ in worst], color=ORANGE, height=0.66)
    axes.set_yticks(range(len(worst)), titles, fontsize=8, linespacing=1.1)
    for place, (count, truth, _) in enumerate(worst):
        text = f" {count} of {matrix[truth].sum()}"
        axes.text(count, place, text, va="center", fontsize=8, color=INK)
    axes.margins(x=0.18, y=0.01)
    axes.set_xlabel("rows")
    axes.xaxis.get_major_locator().set_params(integer=True)
    shown, total = (sum(count for count, _, _ in pairs) for pairs in (worst, wrong))
    _title(axes, "Confused most", f"{shown:,} of {total:,} mistakes: the true label, and what it was taken for")
    _plain(axes, grid="x")


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(line["epoch"], line["metrics"][name]) for line in lines if name in line["metrics"]]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import text

    for part in figure.findobj(text.Text):
        part.set_fontfamily(_fonts())
    figure.savefig(path, facecolor="white")
    return path


@cache
def _fonts() -> list[str]:
    """matplotlib's own font, and for what it lacks a Chinese one, where the machine has any."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)][:2]


def _title(axes: Any, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK, pad=22 if subtitle else 10)
    if subtitle:
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
        axes.annotate(subtitle, **place, fontsize=9.5, color=GREY, va="bottom")


def _plain(axes: Any, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis=grid, color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)


def _color_bar(figure: Any, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)


def _names(labels: Sequence[str]) -> list[str]:
    """What stands for each label: itself, cut; its number where no font of this machine can write it."""
    writable = len(_fonts()) > 1
    return [
        f"label {number}" if not writable and _width(label) > len(label) else _cut(label)
        for number, label in enumerate(labels, start=1)
    ]


def _width(label: str) -> int:
    """Characters that a label takes; a Chinese one is twice as wide as a Latin one."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in label)


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("f1", "F1").replace("mcc", "MCC")
