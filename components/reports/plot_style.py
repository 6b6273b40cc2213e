"""How our pictures look: figures without a screen or global state, colours, fonts that can write the labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

BLUE, ORANGE, GREY, LIGHT, INK = "#2563a8", "#d9731a", "#8a94a3", "#e6eaf0", "#1f2937"
LONGEST_LABEL = 34  # characters
DOTS_PER_INCH = 130
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Arial Unicode MS",
)  # fmt: skip


def new_figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> Path:
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


def set_title(axes: Any, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=INK, pad=22 if subtitle else 10)
    if subtitle:
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
        axes.annotate(subtitle, **place, fontsize=9.5, color=GREY, va="bottom")


def make_plain(axes: Any, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis=grid, color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)


def add_color_bar(figure: Any, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)


def shown_names(labels: Sequence[str]) -> list[str]:
    """What stands for each label: itself, cut; its number where no font of this machine can write it."""
    writable = len(_fonts()) > 1
    return [
        f"label {number}" if not writable and shown_width(label) > len(label) else _cut(label)
        for number, label in enumerate(labels, start=1)
    ]


def shown_width(label: str) -> int:
    """Characters that a label takes; a Chinese one is twice as wide as a Latin one."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in label)


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
