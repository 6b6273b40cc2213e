"""The picture of which labels are taken for which: a matrix for few labels, a map and a list for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.reports.plot_style import (
    INK,
    ORANGE,
    add_color_bar,
    make_plain,
    new_figure,
    save,
    set_title,
    shown_names,
    shown_width,
)

MOST_LABELS_IN_FULL = 20  # a matrix of more labels has cells too small for a number
CHARACTERS_BESIDE_EACH_OTHER = 36
MOST_PAIRS = 20


def draw_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> Path:
    """Draw which labels are taken for which; for many labels a map and the pairs that are confused most."""
    import numpy as np

    matrix = np.asarray(counts)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (truth, predicted)
    names = shown_names(labels)
    if len(labels) <= MOST_LABELS_IN_FULL:
        side = 3.6 + 0.52 * len(labels)
        figure = new_figure(side + 0.9, side)
        _draw_full_matrix(figure.add_subplot(), figure, names, matrix, shares)
    else:
        figure = new_figure(15, 8.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
        _draw_map(left, figure, shares)
        _draw_pairs(right, names, matrix)
    return save(figure, path)


def _draw_full_matrix(axes: Any, figure: Any, names: Sequence[str], matrix: Any, shares: Any) -> None:
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    fits = max(map(shown_width, names)) * len(names) < CHARACTERS_BESIDE_EACH_OTHER
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
    set_title(axes, "What is taken for what", f"rows; colour is the share of each true label, {matrix.sum():,} in all")
    add_color_bar(figure, image, axes)


def _draw_map(axes: Any, figure: Any, shares: Any) -> None:
    from matplotlib.colors import PowerNorm

    count = len(shares)
    # A root scale: with 77 labels a mistake is a few per cent of its row, and should be seen.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    ticks = range(9, count, 10)
    axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set(xlabel="predicted label, by number in the alphabet", ylabel="true label, by number in the alphabet")
    set_title(axes, f"What is taken for what: {count} labels", "share of each true label")
    add_color_bar(figure, image, axes)


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
    set_title(axes, "Confused most", f"{shown:,} of {total:,} mistakes: the true label, and what it was taken for")
    make_plain(axes, grid="x")
