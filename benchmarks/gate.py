"""How often the gate errs: thousands of simulated weeks of equal, better and worse candidates; and what it costs.

    python benchmarks/gate.py [--weeks 2000]

Against what others promote by: whoever has the higher score, or one that is higher by a threshold. The weeks are
simulated, the tests are the gate's own code. A false promotion is one of a candidate that is no better; power is how
often a better one is seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.gate_metrics import answers, drawn, other_metrics_weeks, stated_power, words
from benchmarks.report import Table, machine, write_result
from components.config import Gate
from components.records import EvaluationReport
from components.reports.power import power_of_mcnemar
from components.reports.promotion import Standard, decide_promotion
from components.reports.resampling import bootstrap_difference, pair_up, randomisation_test
from components.reports.statistics import holm, mcnemar_exact, tango_score_test
from components.sequences.classification_metrics import class_statistic

ALPHA = 0.05
SHARE = 0.10  # of the rows on which just one of two models is right, as after a retraining on a little more data
YEAR = 52  # weeks
THRESHOLD = 0.005  # by which a candidate has to be higher, where a rule of thumb decides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=2000, help="simulated weeks of each kind; at least 1,000 to count")
    weeks = parser.parse_args().weeks
    started = began = time.perf_counter()
    generator = np.random.default_rng(20_261_121)
    parts: list[Callable[[], Table]] = [
        lambda: accuracy_weeks(weeks, generator),
        lambda: other_metrics_weeks(weeks, generator),
        lambda: document_weeks(weeks, generator),
        lambda: margin_weeks(weeks, generator),
        lambda: slice_weeks(weeks, generator),
        lambda: years_on_one_holdout(max(weeks // 4, 10), generator),
        lambda: years_of_small_drops(max(weeks // 20, 5), generator),
        decision_times,
    ]
    tables = []
    for part in parts:
        tables.append(part())
        tables[-1].show()
        print(f"  ({time.perf_counter() - began:.0f} s)")
        began = time.perf_counter()
    goal = "false promotions at most 5 % at confidence 0.95; a decision about 5,000 rows in less than 2 s"
    content = {
        "machine": machine(),
        "goal": goal,
        "weeks": weeks,
    }
    write_result("gate", content, tables)
    print(f"{time.perf_counter() - started:.0f} s")


def accuracy_weeks(weeks: int, generator: np.random.Generator) -> Table:
    """Exact McNemar against `>`, and the power that decision.json states."""
    table = Table(
        f"Accuracy: share of {weeks:,} weeks in which the candidate is promoted",
        (
            *("true difference", "frozen rows", "the gate (exact McNemar)", "its stated power", "higher score wins"),
            f"higher by {THRESHOLD:.1%} wins",
        ),
    )
    for rows in (500, 3000):
        for gain in (-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.05):
            won, lost = _wins_and_losses(rows, gain, weeks, generator)
            gate = np.mean([mcnemar_exact(int(a), int(b)) <= ALPHA for a, b in zip(won, lost, strict=True)])
            stated = f"{power_of_mcnemar(gain, SHARE, rows, ALPHA):.1%}" if gain > 0 else ""
            higher, clearly = np.mean(won > lost), np.mean(won - lost >= THRESHOLD * rows)
            table.add(f"{gain:+.0%}", f"{rows:,}", f"{gate:.1%}", stated, f"{higher:.1%}", f"{clearly:.1%}")
    return table


def _wins_and_losses(rows: int, gain: float, weeks: int, generator: np.random.Generator) -> tuple[Any, Any]:
    shares = [(SHARE + gain) / 2, (SHARE - gain) / 2, 1 - SHARE]
    won, lost, _ = generator.multinomial(rows, shares, size=weeks).T
    return won, lost


def document_weeks(weeks: int, generator: np.random.Generator) -> Table:
    """Eight rows a document, right or wrong together: who counts rows believes to have eight times the evidence."""
    table = Table(
        f"Equal models, 50 documents of 8 rows each: share of {weeks:,} weeks promoted",
        ("test", "false promotions"),
    )
    groups = np.repeat(np.arange(50), 8)
    counts = {
        "approximate randomisation over documents (evaluation.documents)": 0,
        "exact McNemar over rows": 0,
        "higher score wins": 0,
    }
    for week in range(weeks):
        truth, ours, theirs = drawn(400, 0.0, generator, groups)
        columns = words(truth), words(ours), words(theirs)
        pairs = pair_up(lambda t, s: class_statistic("accuracy", t, s), *columns, groups.tolist())
        won = int(((ours == truth) & (theirs != truth)).sum())
        lost = int(((ours != truth) & (theirs == truth)).sum())
        found = (randomisation_test(pairs, 500, week) <= ALPHA, mcnemar_exact(won, lost) <= ALPHA, won > lost)
        for name, passed in zip(counts, found, strict=True):
            counts[name] += int(passed)
    for name, count in counts.items():
        table.add(name, f"{count / weeks:.1%}")
    return table


def margin_weeks(weeks: int, generator: np.random.Generator) -> Table:
    """Non-inferiority: the candidate that is worse by just the margin, which must not pass, and the equal one."""
    table = Table(
        f"Non-inferiority with a margin of 2 points: share of {weeks:,} weeks promoted",
        ("metric and test", "true difference", "the gate", "its stated power"),
    )
    for gain in (-0.02, 0.0):
        won, lost = _wins_and_losses(1000, gain, weeks, generator)
        passed = [tango_score_test(int(a), int(b), 1000, -0.02) <= ALPHA for a, b in zip(won, lost, strict=True)]
        stated = f"{stated_power(gain, -0.02, np.sqrt(won + lost + 1) / 1000):.1%}"
        table.add("accuracy, Tango, 1,000 rows", f"{gain:+.0%}", f"{np.mean(passed):.1%}", stated)
    fewer = min(weeks, 1000)
    for gain in (-0.02, 0.0):
        count, deviations = 0, []
        for week in range(fewer):
            truth, ours, theirs = drawn(1000, gain, generator)
            columns = words(truth), words(ours), words(theirs)
            pairs = pair_up(lambda t, s: class_statistic("accuracy", t, s), *columns)
            found = bootstrap_difference(pairs, 500, week)
            count += found.p_value(-0.02) <= ALPHA
            deviations.append(found.deviation)
        name, stated = f"accuracy, BCa bootstrap, 1,000 rows, {fewer:,} weeks", stated_power(gain, -0.02, deviations)
        table.add(name, f"{gain:+.0%}", f"{count / fewer:.1%}", f"{stated:.1%}")
    return table


def slice_weeks(weeks: int, generator: np.random.Generator) -> Table:
    """Twenty slices of equal models: one of them always looks bad."""
    table = Table(
        f"Equal models, 20 slices: share of {weeks:,} weeks refused for a slice",
        ("rule", "slices of 30 rows", "slices of 100 rows"),
    )
    found = [_refused_slices(rows, weeks, generator) for rows in (30, 100)]
    for rule in found[0]:
        table.add(rule, *(f"{of_size[rule]:.1%}" for of_size in found))
    return table


def _refused_slices(rows: int, weeks: int, generator: np.random.Generator) -> dict[str, float]:
    drawn = generator.multinomial(rows, [SHARE / 2, SHARE / 2, 1 - SHARE], size=(weeks, 20))
    p_values = np.array([[mcnemar_exact(int(lost), int(won)) for won, lost, _ in week] for week in drawn])
    dropped = (drawn[:, :, 1] - drawn[:, :, 0]) / rows
    large = dropped > Gate().max_slice_drop
    shown = np.array([min(holm(week)) <= ALPHA for week in p_values])
    return {
        "a paired test each: with Holm, or alone where it dropped by max_slice_drop (the gate)": float(
            (shown | (large & (p_values <= ALPHA)).any(axis=1)).mean()
        ),
        "a paired test each, uncorrected": float((p_values.min(axis=1) <= ALPHA).mean()),
        "any slice lower by 10 points": float(large.any(axis=1).mean()),
        "any slice lower at all": float((dropped.max(axis=1) > 0).mean()),
    }


def _weekly_models(rows: int, weeks: int, drift: float, generator: np.random.Generator) -> Any:
    """Whether each week's candidate is right on each row: (weeks, rows). Hard rows are hard for all of them."""
    hard = generator.normal(size=rows)
    from scipy.stats import norm

    shares = np.clip(0.85 + drift * np.arange(weeks), 0.01, 0.99)
    noise = generator.normal(size=(weeks, rows))
    mixed = np.sqrt(0.85) * hard + np.sqrt(0.15) * noise
    return mixed < norm.ppf(shares)[:, None]


def _compared(ours: Any, theirs: Any) -> tuple[int, int]:
    return int((ours & ~theirs).sum()), int((~ours & theirs).sum())


def years_on_one_holdout(years: int, generator: np.random.Generator) -> Table:
    """52 candidates a year, all equally good, judged by the same frozen rows."""
    table = Table(
        f"A year of equal candidates on the same 1,000 frozen rows, {years:,} years",
        ("rule", "false promotions a year", "years with at least one"),
    )
    rules: dict[str, Callable[[int, int], bool]] = {
        "the gate": lambda a, b: mcnemar_exact(a, b) <= ALPHA,
        f"the gate, decisions_per_holdout: {YEAR}": lambda a, b: mcnemar_exact(a, b) <= ALPHA / YEAR,
        "higher score wins": lambda a, b: a > b,
    }
    counts = {name: np.zeros(years) for name in rules}
    for year in range(years):
        models = _weekly_models(1000, YEAR + 1, 0.0, generator)
        for name, passes in rules.items():
            live = models[0]
            for candidate in models[1:]:
                if passes(*_compared(candidate, live)):
                    live = candidate
                    counts[name][year] += 1
    for name, count in counts.items():
        table.add(name, f"{count.mean():.2f}", f"{(count > 0).mean():.1%}")
    return table


def years_of_small_drops(years: int, generator: np.random.Generator) -> Table:
    """Each week's candidate is a little worse than the last, as when data slowly spoils; a point may be lost a time."""
    table = Table(
        f"Candidates that lose 0.2 points a week, non-inferiority, margin 2 points, 3,000 rows, {years:,} years",
        ("rule", "points lost after a year, mean", "worst year"),
    )
    for name, guarded in (("with the ratchet guard (the gate)", True), ("against the champion alone", False)):
        lost = [_year_of_drops(_weekly_models(3000, YEAR + 1, -0.002, generator), guarded) for _ in range(years)]
        table.add(name, f"{np.mean(lost):.2f}", f"{np.max(lost):.2f}")
    return table


def _year_of_drops(models: Any, guarded: bool) -> float:
    """True points lost from the first model to the one that is live in the end."""
    live, best = 0, 0
    rows = models.shape[1]
    for week in range(1, len(models)):
        standards = {live, best} if guarded else {live}
        passed = [tango_score_test(*_compared(models[week], models[each]), rows, -0.02) <= ALPHA for each in standards]
        if all(passed):
            live = week
            best = max(best, week, key=lambda each: models[each].mean())
    return 0.2 * live


def decision_times() -> Table:
    """Seconds of a whole decision, its files and slices included, about 5,000 rows."""
    table = Table("A decision about 5,000 frozen rows", ("task type and metric", "slices", "seconds, median of 5"))
    cases = [
        ("text_classification", "accuracy", 77, True),
        ("text_classification", "macro_f1", 77, True),
        ("token_classification", "f1", 0, False),
        ("regression", "spearman", 0, False),
    ]
    for task_type, metric, classes, sliced in cases:
        with tempfile.TemporaryDirectory() as place:
            ours, theirs = (_report(Path(place), n, task_type, metric, classes, sliced) for n in (0, 1))
            seconds = []
            for _ in range(5):
                began = time.perf_counter()
                decide_promotion(ours, Standard(1, theirs), Gate(), Path(place))
                seconds.append(time.perf_counter() - began)
        table.add(f"{task_type}, {metric}", "77 labels and 2 languages" if sliced else "", f"{np.median(seconds):.2f}")
    return table


def _report(place: Path, number: int, task_type: str, metric: str, classes: int, sliced: bool) -> EvaluationReport:
    """A made-up report of 5,000 rows."""
    from components.task_types import find_task_type

    rows = 5000
    drawn = np.random.default_rng(1)
    truths, said = _made_up(task_type, rows, classes, drawn, np.random.default_rng(10 + number))
    quality = find_task_type(task_type).quality(truths, said)
    frame = pd.DataFrame({"row_id": [f"test.csv:{n}" for n in range(rows)], "text": "a text", "label": truths})
    frame["language"] = np.where(np.arange(rows) % 3, "en", "zh")
    frame = frame.assign(predicted=said, score=0.9, quality=quality, correct=quality >= 1)
    folder = place / str(number)
    folder.mkdir()
    frame.to_parquet(folder / "predictions.parquet")
    columns = ("label", "language") if sliced else ()
    slices = [
        {"column": column, "value": value, "rows": len(part), "score": part["quality"].mean(), "judged": True}
        for column in columns
        for value, part in frame.groupby(column)
    ]
    content = {"slices": slices, "documents": None, "min_slice_rows": 30}
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    statistic = find_task_type(task_type).statistic(metric, truths, said)
    score = float(statistic(np.ones((1, rows)))[0])
    return EvaluationReport(
        folder, f"answers {number}", f"model {number}", "rows", task_type, rows, metric, {metric: score}, {}
    )


def _made_up(task_type: str, rows: int, classes: int, drawn: Any, own: Any) -> tuple[list[str], list[str]]:
    if task_type == "regression":
        truth = drawn.normal(size=rows)
        return [str(value) for value in truth], [str(value) for value in truth + 0.5 * own.normal(size=rows)]
    if task_type == "token_classification":
        starts = drawn.integers(0, 40, rows)
        moved = starts + (own.random(rows) < 0.15)
        truths, said = ([json.dumps([[int(start), int(start) + 5, "X"]]) for start in each] for each in (starts, moved))
        return truths, said
    truth = drawn.integers(0, classes, rows)
    return words(truth), words(answers(truth, own.random(rows) < 0.9, classes, own))


if __name__ == "__main__":
    main()
