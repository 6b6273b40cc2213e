"""How soon a fallen accuracy is an alarm where a random sample is labelled, and how often one that has not fallen is.

Labels are drawn, the evidence is the monitor's own. Beside it the rules that others use: the interval of the newest
labels alone, and three standard deviations below the mean of the chunks before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Table
from components.monitor_config import Monitor
from components.monitoring.accuracy import Evidence, Judgement, add_judgements
from components.reports.statistics import wilson

REFERENCE = 0.915  # accuracy on the frozen rows
LOOK = 100  # labels of a look
MOST_LOOKS = 100  # after a drop, or of traffic without one
CHUNKS = 10  # by which the last rule knows what is usual
INTERVAL, THREE_SD = "95 % interval of the look below it", "below mean - 3 sd of 10 looks"
Accuracy = Callable[[int], float]  # by labels since the beginning


@dataclass(frozen=True)
class Course:
    """How the accuracy goes: `good` labels as on the frozen rows, and then by `after`."""

    good: int
    after: Accuracy


DROPS: Mapping[str, Course] = {
    "at once to 75 %": Course(0, lambda _: 0.75),
    "to 75 % after 3,000 good labels": Course(3000, lambda _: 0.75),
    "to 82 % after 3,000 good labels": Course(3000, lambda _: 0.82),
    "slowly to 75 %, over 3,000 labels": Course(0, lambda labels: max(0.75, REFERENCE - 0.165 * labels / 3000)),
}
STEADY: Mapping[str, Course] = {
    "none: 91.5 %, as on the frozen rows": Course(0, lambda _: REFERENCE),
    "none: 86.5 %, the bound itself": Course(0, lambda _: REFERENCE - Monitor().thresholds.accuracy),
}
COURSES = {**DROPS, **STEADY}


def accuracy_drops(pool: Executor, repeats: int) -> Table:
    """Labels from the beginning of a drop to the alarm; of courses without one, how many were alarmed about at all."""
    table = Table(
        f"Labels until a fallen accuracy is an alarm, median of {repeats}; {LOOK} labels a look",
        ("drop", "the monitor", INTERVAL, THREE_SD),
    )
    for name in COURSES:
        found = list(pool.map(_until_found, [name] * repeats, range(repeats)))
        columns = [[each[rule] for each in found] for rule in ("the monitor", INTERVAL, THREE_SD)]
        table.add(name, *(_cell(column, steady=name in STEADY) for column in columns))
    return table


def _cell(labels: list[float], *, steady: bool) -> str:
    share = float(np.mean(np.isfinite(labels)))
    if steady:
        return f"false alarm in {share:.1%} of {MOST_LOOKS * LOOK:,}"
    middle = float(np.median(labels))
    return f"{f'{middle:,.0f}' if np.isfinite(middle) else 'not found'}{'' if share == 1 else f' ({share:.0%})'}"


def _until_found(name: str, repeat: int) -> dict[str, float]:
    course, generator = COURSES[name], np.random.default_rng([repeat, list(COURSES).index(name)])
    bound, settings = REFERENCE - Monitor().thresholds.accuracy, Monitor()
    evidence = Evidence(bound=bound)
    usual = generator.random((CHUNKS, LOOK)) < REFERENCE  # looks of the time before
    lowest = float(usual.mean(axis=1).mean() - 3 * usual.mean(axis=1).std())
    found = dict.fromkeys(("the monitor", INTERVAL, THREE_SD), float("inf"))
    for look in range(course.good // LOOK + MOST_LOOKS):
        came = look * LOOK - course.good
        accuracy = REFERENCE if came < 0 else course.after(came)
        right = generator.random(LOOK) < accuracy
        said = [Judgement(f"{look:05}-{n:03}", bool(each)) for n, each in enumerate(right)]
        evidence = add_judgements(evidence, said)
        start = evidence.strongest
        rows = evidence.rows - start.right - start.wrong
        effect = REFERENCE - (evidence.right - start.right) / rows if rows else 0.0
        alarms = {
            "the monitor": evidence.p_value <= settings.alpha and effect >= settings.thresholds.accuracy,
            INTERVAL: wilson(int(right.sum()), LOOK)[1] < REFERENCE,
            THREE_SD: float(right.mean()) < lowest,
        }
        if came < 0:
            continue  # a false alarm before is not what is asked here
        for rule, alarm in alarms.items():
            if alarm:
                found[rule] = min(found[rule], came + LOOK)
        if all(np.isfinite(list(found.values()))):
            break
    return found
