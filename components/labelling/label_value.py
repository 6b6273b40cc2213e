"""What more labels would buy: a learning curve of a model, its forecast in one sentence, a table and a picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.digests import canonical
from components.errors import ConfigError
from components.labelling.curve_points import Method, Points, Tell, Work, measure
from components.labelling.learning_curve import FEWEST_POINTS, Curve, Forecast, fit_curve, forecast, nested_sizes
from components.records import as_json
from components.reports.metric_words import metric_words
from components.step_store import write_whole

USUAL_MORE = 1000
POINTS = 6
FEWEST_ROWS = 20  # at a point
FEWEST_JUDGED = 50  # validation rows: with fewer every interval is as wide as the whole scale
METHODS = {
    "embeddings": "a proxy: a linear model on the base model's embeddings, not a fine-tuning",
    "fine-tuning": "fine-tunings with the run file's settings",
}


@dataclass(frozen=True, slots=True)
class LabelValue:
    """A learning curve and what it forecasts; scores are those of the metric, gains in its points.

    `sizes` are numbers of training rows, `scores` those of each seed there; `forecasts` has what was asked last.
    `held_back` is what the curve through all points but the last says of the last, which was measured too.
    """

    method: Method
    metric: str
    judged_on: int
    sizes: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    curve: Curve
    held_back: float
    forecasts: tuple[Forecast, ...]
    sentence: str


def estimate_value(work: Work, method: Method, more: int | None, seeds: int, tell: Tell) -> LabelValue:
    """What more labelled rows like those there are would bring.

    Args:
        more: how many; None asks for 1,000, or as many as there are where that is less.
        seeds: orders in which rows are added.

    Raises:
        ConfigError: more is asked than twice the rows, or there are too few rows for a curve.
    """
    now = work.dataset.rows["train"]
    wanted = _wanted(more, now)
    sizes = nested_sizes(now, max(FEWEST_ROWS, 2 * len(work.dataset.labels)), POINTS)
    judged = work.dataset.rows["validation"]
    if len(sizes) < FEWEST_POINTS or judged < FEWEST_JUDGED:
        raise ConfigError(
            f"{now:,} training and {judged:,} validation rows are too few for a learning curve.",
            f"label more rows first: {FEWEST_JUDGED} for validation, and some for each label.",
        )
    return conclude(measure(work, method, sizes, seeds, tell), method, work.config.evaluation.metric, wanted)


def _wanted(more: int | None, now: int) -> int:
    if more is not None and more > now:
        raise ConfigError(
            f"A curve of {now:,} rows says nothing about {more:,} more.",
            f"ask for at most as many as there are: --rows {now}.",
        )
    return more or min(USUAL_MORE, now)


def conclude(points: Points, method: Method, metric: str, wanted: int) -> LabelValue:
    """The forecast of measured points."""
    sizes, means = points.sizes, points.scores.mean(axis=1).tolist()
    now = sizes[-1]
    asked = sorted({max(1, now // 4), max(1, now // 2), now} - {wanted})
    found = forecast(sizes, points.draws, means, [*asked, wanted])
    before = fit_curve(sizes[:-1], means[:-1], sizes[-2])
    curve = fit_curve(sizes, means, now)
    return LabelValue(
        method=method,
        metric=metric,
        judged_on=points.judged_on,
        sizes=sizes,
        scores=tuple(tuple(row) for row in points.scores.tolist()),
        curve=curve,
        held_back=before.at(now),
        forecasts=tuple(found),
        sentence=_sentence(found[-1], curve, metric, method),
    )


def _sentence(found: Forecast, curve: Curve, metric: str, method: Method) -> str:
    name = metric_words(metric)
    surely = "" if found.low > 0.0005 else "; the interval reaches zero, so that no gain is sure"
    return (
        f"{found.more:,} more labelled rows like these are expected to bring {100 * found.gain:+.1f} points of {name} "
        f"(95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}), from {curve.at(curve.now):.3f} to "
        f"{curve.at(curve.now + found.more):.3f}{surely}. Measured by {METHODS[method]}."
    )


def write_value(value: LabelValue, folder: Path) -> list[Path]:
    """Write `label_value.json`, `.csv`, `.md` and `.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "label_value.json", canonical(as_json(value)))
    write_whole(folder / "label_value.md", in_markdown(value))
    with (folder / "label_value.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["rows", "score", "lowest", "highest", "fitted"])
        table.writerows(points_of(value))
    return [*(folder / f"label_value.{kind}" for kind in ("json", "md", "csv")), _draw(value, folder)]


def points_of(value: LabelValue) -> list[tuple[int, float, float, float, float]]:
    """Rows, mean score, lowest and highest of the seeds, and what the curve says, for each point."""
    return [
        (size, round(float(np.mean(own)), 4), round(min(own), 4), round(max(own), 4), round(value.curve.at(size), 4))
        for size, own in zip(value.sizes, value.scores, strict=True)
    ]


def forecasts_of(value: LabelValue) -> list[tuple[str, str, str]]:
    """More rows, the score expected then, and the gain with its interval, the fewest rows first."""
    now = value.curve.now
    return [
        (
            f"{each.more:,}",
            f"{value.curve.at(now + each.more):.4f}",
            f"{100 * each.gain:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f})",
        )
        for each in sorted(value.forecasts, key=lambda each: each.more)
    ]


def in_markdown(value: LabelValue) -> str:
    """The whole as markdown."""
    lines = [f"**{value.sentence}**", "", f"Scored on {value.judged_on:,} validation rows; seeds add other rows first."]
    lines += ["", f"| training rows | {metric_words(value.metric)} | of the seeds | curve |", "|---:|---:|---|---:|"]
    lines += [
        f"| {n:,} | {mean:.4f} | {low:.4f} to {high:.4f} | {fit:.4f} |" for n, mean, low, high, fit in points_of(value)
    ]
    lines += ["", "| more rows | expected | gain in points (95 % interval) |", "|---:|---:|---|"]
    lines += [f"| {more} | {score} | {gain} |" for more, score, gain in forecasts_of(value)]
    return "\n".join([*lines, "", check_in_words(value)]) + "\n"


def check_in_words(value: LabelValue) -> str:
    """How well the curve without its last point has foretold it."""
    measured = float(np.mean(value.scores[-1]))
    return (
        f"Check: the curve through the points up to {value.sizes[-2]:,} rows says {value.held_back:.4f} of "
        f"{value.sizes[-1]:,}; measured {measured:.4f}."
    )


def _draw(value: LabelValue, folder: Path) -> Path:
    from components.reports.plot_style import BLUE, GREY, ORANGE, make_plain, new_figure, save, set_title

    figure = new_figure(7.4, 4.6)
    axes = figure.add_subplot()
    now, last = int(value.curve.now), max(each.more for each in value.forecasts) + int(value.curve.now)
    known, beyond = np.linspace(value.sizes[0], now, 100), np.linspace(now, last, 50)
    axes.plot(known, [value.curve.at(rows) for rows in known], color=BLUE, linewidth=1.6, label="inverse power law")
    axes.plot(
        beyond, [value.curve.at(rows) for rows in beyond], color=BLUE, linewidth=1.6, linestyle="--", label="forecast"
    )
    for size, own in zip(value.sizes, value.scores, strict=True):
        axes.scatter([size] * len(own), own, s=14, color=GREY, linewidths=0, label="seeds" if size == now else None)
    axes.scatter(value.sizes, [np.mean(own) for own in value.scores], s=34, color=BLUE, zorder=3, label="their mean")
    base = value.curve.at(now)
    for number, each in enumerate(value.forecasts):
        axes.plot(
            [now + each.more] * 2, [base + each.low, base + each.high], color=ORANGE, linewidth=4, alpha=0.6,
            solid_capstyle="butt", label="95 % interval of the gain" if number == 0 else None,
        )  # fmt: skip
    axes.axvline(now, color=GREY, linestyle=":", linewidth=1)
    axes.set(xlabel="training rows", ylabel=metric_words(value.metric))
    axes.legend(frameon=False, loc="lower right")
    set_title(axes, "What more labels would buy", METHODS[value.method])
    make_plain(axes, grid="both")
    return save(figure, folder / "label_value.png")
