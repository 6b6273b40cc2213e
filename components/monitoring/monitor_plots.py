"""Pictures of a window beside its baselines: a folder of PNG files out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.monitoring import two_samples
from components.monitoring.comparison import Finding
from components.monitoring.judging import Look
from components.monitoring.measure_words import NAMES
from components.reports.plot_style import BLUE, GREY, INK, ORANGE, make_plain, new_figure, save, set_title, shown_names

if TYPE_CHECKING:
    import pandas as pd

MOST_LABELS = 20
LARGEST_PICTURE = 200_000  # bytes within a text, which is a row of a database
COLOURS = {"alarm": ORANGE, "watch": "#e6b566", "ok": BLUE}
PANELS = (("confidence", "confidence"), ("entropy", "entropy, share of the largest"), ("characters", "characters"))


def draw_look(look: Look, folder: Path) -> list[Path]:
    """Draw the effects beside their thresholds, and the distributions against the reference or the last good window."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw_effects(look.findings, f"{look.name} version {look.version}", folder / "effects.png")]
    baselines = look.baselines
    table = baselines.reference if baselines.reference is not None else None
    name = "training reference"
    if table is None and baselines.last_good is not None:
        table, name = baselines.last_good.rows, "last good window"
    if table is not None and len(look.window.rows) and len(table):
        drawn.append(draw_distributions(look.window.rows, table, name, folder / "distributions.png"))
        if "label" in table and "label" in look.window.rows:
            drawn.append(draw_labels(look.window.rows["label"], table["label"], name, folder / "labels.png"))
    return drawn


def pictures_in_markdown(pictures: Sequence[Path]) -> str:
    """Pictures within a text in markdown, for pages that can show no file of ours, such as those of Prefect."""
    small = [path for path in pictures if path.stat().st_size <= LARGEST_PICTURE]
    encoded = ((path.stem, b64encode(path.read_bytes()).decode()) for path in small)
    return "\n\n".join(f"![{name}](data:image/png;base64,{text})" for name, text in encoded) + "\n" * bool(small)


def draw_effects(findings: Sequence[Finding], title: str, path: Path) -> Path:
    """Draw each effect as a share of its threshold: beyond one is an alarm, where the p-value is small too."""
    shown = sorted(findings, key=lambda each: each.effect / each.threshold)
    figure = new_figure(8.2, 1.8 + 0.3 * len(shown))
    axes = figure.add_subplot()
    shares = [max(0.0, min(3.0, each.effect / each.threshold)) for each in shown]
    axes.barh(range(len(shown)), shares, color=[COLOURS[each.severity] for each in shown], height=0.65)
    axes.set_yticks(range(len(shown)), [f"{NAMES[each.measure]}, {each.against}" for each in shown], fontsize=8.5)
    axes.axvline(1, color=INK, linewidth=1)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
    for place, each in enumerate(shown):
        axes.text(
            shares[place] + 0.03,
            place,
            f"{each.effect:.3g}, p {max(each.corrected, 1e-9):.1g}",
            va="center",
            fontsize=8,
        )
    axes.set(xlim=(0, 3.4), xlabel="effect as a share of the threshold: 1 is an alarm, 0.5 is watched")
    set_title(axes, f"What has changed, {title}", "orange where the p-value is small too, after Holm's correction")
    make_plain(axes, grid="x")
    return save(figure, path)


def draw_distributions(ours: pd.DataFrame, theirs: pd.DataFrame, name: str, path: Path) -> Path:
    """Draw the distribution functions of the numbers that both have; their largest gap is the effect."""
    panels = [(column, label) for column, label in PANELS if column in ours and column in theirs]
    figure = new_figure(3.6 * max(len(panels), 1), 3.6)
    for place, (column, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for table, colour, who in ((theirs, GREY, name), (ours, BLUE, "this window")):
            values = np.sort(table[column].dropna().to_numpy(np.float64))
            axes.step(values, np.arange(1, len(values) + 1) / max(len(values), 1), color=colour, label=who)
        if column == "characters":
            axes.set_xscale("log")
        axes.set(xlabel=label, ylabel="share of the texts at most" if place == 1 else "", ylim=(0, 1.01))
        make_plain(axes, grid="both")
        if place == 1:
            axes.legend(loc="best", frameon=False, fontsize=8)
    return save(figure, path)


def draw_labels(ours: pd.Series, theirs: pd.Series, name: str, path: Path) -> Path:
    """Draw the shares of the labels that changed most."""
    words, one, other = two_samples.count_words(ours.dropna(), theirs.dropna())
    now, before = one / one.sum(), other / other.sum()
    most = np.argsort(-np.abs(now - before), kind="stable")[:MOST_LABELS][::-1]
    figure = new_figure(8.2, 1.8 + 0.32 * len(most))
    axes = figure.add_subplot()
    places = np.arange(len(most))
    axes.barh(places + 0.2, now[most], height=0.38, color=BLUE, label="this window")
    axes.barh(places - 0.2, before[most], height=0.38, color=GREY, label=name)
    axes.set_yticks(places, shown_names([words[place] for place in most]), fontsize=8.5)
    axes.legend(loc="lower right", frameon=False)
    axes.set_xlabel("share of the texts")
    set_title(axes, "Labels whose share changed most", f"{len(most)} of {len(words)} labels")
    make_plain(axes, grid="x")
    return save(figure, path)
