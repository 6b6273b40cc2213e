"""A year of weekly runs on real servers, with the troubles of a year; each week must end as planned.

    python benchmarks/year.py [--weeks 52] [--only 3,9,20] [--seed 1] [--keep FOLDER]

`rebert up` keeps Prefect's server, MLflow's server and a worker at work on PostgreSQL, which is started here. Prefect
itself plans the runs of the year ahead by the run file's `schedule`; week by week a delivery lands, the planned run
becomes due, and what else the plan says happens: data that validation stops, candidates that the gate refuses,
processes that are killed, events that come two at once while a run is at work, of which the run file's limits let one
through. It ends with 1 when a week ends otherwise than planned, a run is lost or doubled, anything is half done, or the
disk fills.

The clock of the machine is not moved. What is checked of the clock is Prefect's own plan of the year: the times that it
lays down ahead for the two Sundays on which the clock of the run file's time zone changes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from installation import Installation, installed, postgres_programs, until
from report import Table, machine, write_result
from soundness import Ledger, disk, ledger_of, problems
from weekly_deliveries import ARRIVED, ZONE, Deliveries, Kind

GOAL = "every week as planned, no run lost or doubled, nothing half done, the disk bounded"
WEEKS = 52
OUTCOMES: dict[Kind, str] = {
    "first": "Promoted",
    "better": "Promoted",
    "alike": "Refused",
    "worse": "Refused",
    "nothing": "Unchanged",
    "broken": "Failed",
}
BETTER, WORSE, BROKEN = (14, 27, 40), (5, 12, 31, 45), (7, 22, 38)
NOTHING = (4, 10, 17, 29, 35, 42, 48, 50)  # after a week whose data were good
TROUBLES = {
    3: "worker killed",
    6: "training killed",
    9: "prefect killed",
    11: "mlflow killed",
    14: "mlflow killed",
    16: "worker and run killed",
    18: "postgres killed",
    20: "two events at once",
    24: "away for 3 weeks",
    30: "power cut",
    33: "run killed",
    37: "two events at once",
    40: "prefect killed",
    46: "postgres killed",
}
AWAY_WEEKS = 3
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
TURNED_AWAY = {"Deferred", "Served"}  # by the limits on triggers
# Between the first month and the end; refused versions, old steps and bundles must have gone meanwhile.
MOST_GROWTH_MIB_A_WEEK = 3.0


@dataclass(frozen=True)
class Week:
    """What happens in a week: a delivery, a trouble in words, and how many planned runs become due."""

    number: int
    kind: Kind
    trouble: str = ""
    due: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a week: the names of its runs' last states in order, and what is wrong."""

    week: Week
    planned: datetime
    states: tuple[str, ...]
    wrong: tuple[str, ...]
    ledger: Ledger
    seconds: float
    mebibytes: float


def the_plan(weeks: int, only: Sequence[int]) -> list[Week]:
    """The weeks of a year: the first always, then those wanted."""
    plan, number = [], 1
    while number <= weeks:
        due = min(AWAY_WEEKS, weeks - number + 1) if TROUBLES.get(number, "").startswith("away") else 1
        kinds: dict[Kind, tuple[int, ...]] = {
            "first": (1,),
            "better": BETTER,
            "worse": WORSE,
            "nothing": NOTHING,
            "broken": BROKEN,
        }
        kind: Kind = next((kind for kind, numbers in kinds.items() if number in numbers), "alike")
        if not only or number in (1, *only):
            plan.append(Week(number, kind, TROUBLES.get(number, ""), due))
        number += due
    return plan


class Year:
    """Lives through weeks, one after the other."""

    def __init__(self, installation: Installation, deliveries: Deliveries, planned: Sequence[dict], seed: int) -> None:
        self.installation, self.deliveries = installation, deliveries
        self.planned = list(planned)
        self.asked: list[str] = []  # runs beside the planned ones
        self.random = random.Random(seed)
        self.troubles: dict[str, Callable[[list[str]], None]] = {
            "": lambda _ids: None,
            "worker killed": lambda _ids: self.kill("worker"),
            "training killed": lambda _ids: self.kill("training"),
            "prefect killed": lambda _ids: self.kill("prefect"),
            "mlflow killed": lambda _ids: self.kill("mlflow"),
            "postgres killed": lambda _ids: self.kill("postgres"),
            "run killed": lambda _ids: self.kill("run"),
            "worker and run killed": lambda _ids: self.kill("worker", "run"),
            "power cut": lambda _ids: self.kill("postgres", "up"),
            "two events at once": self.emit_twice,
            "away for 3 weeks": lambda _ids: None,
        }

    def live_through(self, week: Week) -> Outcome:
        """Have a week happen, and look at what came of it."""
        began, before = time.monotonic(), ledger_of(self.installation)
        self.deliveries.deliver(week.kind, week.number)
        mine, self.planned = self.planned[: week.due], self.planned[week.due :]
        ids = [str(run["id"]) for run in mine]
        self.become_due(ids)
        self.troubles[week.trouble](ids)
        states = [self.installation.ended(run_id)["state_name"] for run_id in ids]
        if states[0] in ("Crashed", "Failed") and week.kind != "broken":  # whoever is told of it has it run again
            states.append(str(self.installation.ended(self.ask_for_one())["state_name"]))
        until(self.installation.is_up, "the return of all servers")
        wrong = (*self.unplanned(week, states, before), *self.not_whole())
        return Outcome(
            week,
            datetime.fromisoformat(mine[0]["expected_start_time"]),
            tuple(states),
            wrong,
            ledger_of(self.installation),
            time.monotonic() - began,
            sum(disk(self.installation).values()),
        )

    def become_due(self, ids: list[str]) -> None:
        """Make runs due; several at once wait until the pool's workers are back."""
        if len(ids) > 1:
            self.installation.ask("/work_pools/rebert", "PATCH", is_paused=True)
        for run_id in ids:
            self.installation.make_due(run_id)
        if len(ids) > 1:
            self.installation.ask("/work_pools/rebert", "PATCH", is_paused=False)

    def ask_for_one(self) -> str:
        """A run beside the planned ones, as `rebert trigger` asks for it."""
        self.asked.append(self.installation.new_run())
        return self.asked[-1]

    def emit_twice(self, ids: list[str]) -> None:
        """Two events at once beside the planned run; adds the runs that they and the limits on triggers ask for."""
        known = {run["id"] for run in self.caused()}
        for _ in range(2):
            self.installation.emit(ARRIVED)
        until(lambda: len(self.caused()) >= len(known) + 2, "the runs of two events")
        # A run that came too early asks for a later one before it ends, so all have ended only together.
        until(lambda: all(run["state_type"] in ENDED for run in self.caused()), "the end of what two events asked for")
        new = [str(run["id"]) for run in self.caused() if run["id"] not in known]
        self.asked += new
        ids += new

    def caused(self) -> list[dict]:
        """The runs that something else than the clock or a person asked for."""
        return [run for run in self.installation.runs() if run["parameters"].get("cause")]

    def kill(self, *parts: str) -> None:
        """SIGKILL while a training is at work, or soon after; a training of three seconds itself before it is over."""
        until(lambda: self.installation.processes("training"), "the beginning of a training")
        time.sleep(self.random.uniform(0, 1 if "training" in parts else 3))
        for part in parts:
            if not self.installation.kill(part):
                raise SystemExit(f"There was no {part} to kill.")

    def not_whole(self) -> list[str]:
        """What is not whole, after whoever closes what the dead left open has had time for it."""
        deadline = time.monotonic() + 60
        while found := problems(self.installation):
            if time.monotonic() > deadline:
                break
            time.sleep(2)
        return found

    def unplanned(self, week: Week, states: Sequence[str], before: Ledger) -> list[str]:
        """What did not come as planned."""
        outcome, now = OUTCOMES[week.kind], ledger_of(self.installation)
        others = sorted(states)
        found = []
        if outcome in others:
            others.remove(outcome)
        else:
            found.append(f"{outcome} was planned")
        allowed = {
            "two events at once": {"Superseded", "Unchanged", *TURNED_AWAY},
            "away for 3 weeks": {"Superseded"},
            "training killed": {"Failed"},
            "worker and run killed": {"Crashed"},
            "run killed": {"Crashed"},
            "power cut": {"Crashed"},
        }.get(week.trouble, set())
        found += [f"nobody planned a run {state}" for state in others if state not in allowed]
        if week.trouble == "two events at once" and not TURNED_AWAY & set(states):
            found.append("no trigger was turned away")
        moves = now.events - before.events
        if moves != (outcome == "Promoted"):
            found.append(f"the champion moved {moves} times")
        return found


def plan_of(installation: Installation, weeks: int) -> list[dict]:
    """The runs that Prefect plans for so many weeks ahead."""
    deployment = until(installation.deployment, "the deployment")
    now = datetime.now(UTC)
    end = now + timedelta(weeks=weeks + 1)
    span = {"start_time": now.isoformat(), "end_time": end.isoformat(), "min_runs": weeks, "max_runs": weeks}
    installation.ask(f"/deployments/{deployment['id']}/schedule", **span)
    found = until(lambda: len(runs := installation.runs()) >= weeks and runs, "the plan")
    return list(found[:weeks])


def clock_problems(planned: Sequence[dict]) -> tuple[list[str], list[str]]:
    """What is wrong with the planned times by the run file's clock, and what became of the two odd Sundays."""
    times = [datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo(ZONE)) for run in planned]
    wrong = [
        f"after {before:%F %H:%M} comes {after:%F %H:%M}"
        for before, after in pairwise(times)
        if (after.date() - before.date()).days != 7
    ]
    odd = [f"{time:%F %H:%M %Z}" for time in times if (time.hour, time.minute) != (2, 30)]
    for before, after in pairwise(times):
        if before.utcoffset() != after.utcoffset():
            odd.append(f"{before:%F %H:%M %Z} and then {after:%F %H:%M %Z}")
    return wrong, odd


def lost_or_doubled(year: Year, planned: Sequence[dict]) -> list[str]:
    """Planned runs that did not end, and runs that nobody planned or asked for."""
    runs = {str(run["id"]): run for run in year.installation.runs()}
    due = [run_id for run in planned if (run_id := str(run["id"])) not in {str(each["id"]) for each in year.planned}]
    lost = [run_id for run_id in due if run_id not in runs or runs[run_id]["state_type"] not in ENDED]
    known = {*due, *year.asked}
    strange = [run_id for run_id, run in runs.items() if run["start_time"] and run_id not in known]
    return [*(f"run {run_id} is lost" for run_id in lost), *(f"nobody asked for run {run_id}" for run_id in strange)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=WEEKS)
    parser.add_argument("--only", help="numbers of the weeks to live through, after the first; no result file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder that stays, to look at")
    options = parser.parse_args()
    only = [int(number) for number in options.only.split(",")] if options.only else []
    postgres_programs()  # what is missing is said before anything is made
    if options.keep and options.keep.exists():
        parser.error(f"{options.keep} is there already: name a new folder")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="rebert-year-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    try:
        return live(
            folder.resolve(), the_plan(options.weeks, only), options.seed, whole=options.weeks >= WEEKS and not only
        )
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def live(folder: Path, plan: Sequence[Week], seed: int, *, whole: bool) -> int:
    """Live through the weeks; 0 when all came as planned."""
    began = time.monotonic()
    deliveries = Deliveries(folder / "shop")
    deliveries.deliver("first", 0)
    deliveries.words = 0
    with installed(folder, deliveries.run_file) as installation:
        planned = plan_of(installation, sum(week.due for week in plan))
        wrong, odd = clock_problems(planned)
        year = Year(installation, deliveries, planned, seed)
        outcomes = []
        with suppress(KeyboardInterrupt):  # what was seen until then is told
            for week in plan:
                outcomes.append(year.live_through(week))
                print(line_of(outcomes[-1]), flush=True)
        wrong += lost_or_doubled(year, planned)
        sizes = disk(installation)
    seconds = time.monotonic() - began
    growth = growth_of(outcomes)
    if growth > MOST_GROWTH_MIB_A_WEEK:
        wrong.append(f"the disk fills by {growth:.2f} MiB a week")
    tables = [table_of(outcomes), disk_table(sizes, growth), clock_table(planned, odd)]
    for table in tables:
        table.show()
    bad = [each for each in outcomes if each.wrong]
    for sentence in wrong:
        print(f"Not as planned: {sentence}.")
    print(f"\n{len(outcomes)} weeks in {seconds:.0f} s, {len(bad)} not as planned.")
    if whole and len(outcomes) == len(plan):
        facts = {"weeks": len(outcomes), "not_as_planned": len(bad), "wrong": wrong, "seconds": round(seconds)}
        write_result("year", {"machine": machine(), "goal": GOAL, **facts}, tables)
    return int(bool(bad or wrong))


def growth_of(outcomes: Sequence[Outcome]) -> float:
    """MiB a week from the fifth week on, when retention has had something to do."""
    later = outcomes[4:]
    if len(later) < 2:
        return 0.0
    return (later[-1].mebibytes - later[0].mebibytes) / (later[-1].week.number - later[0].week.number)


def line_of(each: Outcome) -> str:
    start = each.planned.astimezone(ZoneInfo(ZONE))
    what = f"{each.week.kind}{', ' if each.week.trouble else ''}{each.week.trouble}"
    return (
        f"week {each.week.number:2d} {start:%F %H:%M} {what:32} {', '.join(each.states):28} v{each.ledger.champion} "
        f"ledger {each.ledger.events} versions {each.ledger.versions} {each.seconds:4.0f} s {each.mebibytes:6.1f} MiB "
        f"{'; '.join(each.wrong) or 'as planned'}"
    )


def table_of(outcomes: Sequence[Outcome]) -> Table:
    header = ("week", "planned start", "delivery", "trouble", "planned", "came", "live", "ledger", "s", "MiB", "")
    table = Table(f"{len(outcomes)} weeks, seconds and disk of a tiny model", header)
    for each in outcomes:
        start = each.planned.astimezone(ZoneInfo(ZONE))
        facts = (each.ledger.champion, each.ledger.events, f"{each.seconds:.0f}", f"{each.mebibytes:.0f}")
        verdict = "; ".join(each.wrong) or "as planned"
        week, came = each.week, ", ".join(each.states)
        table.add(
            week.number, f"{start:%F %H:%M %Z}", week.kind, week.trouble, OUTCOMES[week.kind], came, *facts, verdict
        )
    return table


def disk_table(sizes: dict[str, float], growth: float) -> Table:
    table = Table("The disk after the last week", ("what", "MiB"))
    for name, size in sizes.items():
        table.add(name, f"{size:.1f}")
    table.add("growth a week, from the fifth on", f"{growth:.2f}")
    return table


def clock_table(planned: Sequence[dict], odd: Sequence[str]) -> Table:
    table = Table(f"What Prefect's plan says of Sundays, 02:30 in {ZONE}; no clock was set", ("", ""))
    table.add("runs planned", len(planned))
    for each in odd:
        table.add("where the clock changes", each)
    return table


if __name__ == "__main__":
    sys.exit(main())
