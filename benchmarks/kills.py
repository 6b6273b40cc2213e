"""SIGKILL at random moments: what is left, and whether the next run ends in the right state.

    python benchmarks/kills.py [--kills 20] [--seed 1] [--only prefect,mlflow] [--keep FOLDER]

Each time a new delivery lands and a run becomes due on a real installation (PostgreSQL, `rebert up`). At a random
moment of the run one part is killed: the worker, the training's process, the run's own process, Prefect's server,
MLflow's, or PostgreSQL. What died is started again by whoever keeps it. Every delivery is one that must be promoted, so
that what comes after a kill is known: if not the run itself, then the next one, promotes exactly one new version. Then
all must be whole: aliases, ledger, bundle, MLflow's runs, locks, processes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installation import Installation, installed, postgres_programs, until
from report import Table, machine, write_result
from soundness import Ledger, ledger_of, problems
from weekly_deliveries import MOST_WORDS, NAME, Deliveries

from components import registry

GOAL = "after each kill the next run ends in the right state, and nothing is half published"
PARTS = ("worker", "training", "run", "prefect", "mlflow", "postgres")
KILLS = 20
GATE = {"floor": 0.4, "mode": "non_inferiority", "margin": 0.1}  # each delivery is as good as the one before


@dataclass(frozen=True)
class Kill:
    """One kill: which part, how far into the run or the training, and what came of it."""

    part: str
    seconds: float
    states: tuple[str, ...]
    wrong: tuple[str, ...]
    took: float


def moments(kills: int, only: Sequence[str], seed: int) -> list[tuple[str, float]]:
    """A part and a share of a run's length for each kill: every part as often, in random order."""
    generator = random.Random(seed)
    parts = [(only or PARTS)[number % len(only or PARTS)] for number in range(kills)]
    generator.shuffle(parts)
    return [(part, generator.random()) for part in parts]


class Rounds:
    """Kills one part after the other.

    Args:
        installation: where.
        deliveries: what lands before each run.
        length: seconds of an undisturbed run, from its beginning.
        training: seconds for which its training's process was there.
    """

    def __init__(self, installation: Installation, deliveries: Deliveries, length: float, training: float) -> None:
        self.installation, self.deliveries = installation, deliveries
        self.length, self.training = length, training

    def kill(self, number: int, part: str, share: float) -> Kill:
        """One round."""
        began, before = time.monotonic(), ledger_of(self.installation)
        self.deliveries.deliver("alike", number)
        # A run has ended for Prefect before its process has, which must not be taken for that of the next.
        until(lambda: not self.installation.processes("run"), "the end of the process of the run before")
        run_id = self.installation.new_run()
        seconds = self._kill_at(part, share)
        states = [str(self.installation.ended(run_id)["state_name"])]
        until(self.installation.is_up, "the return of all servers")
        states.append(str(self.installation.ended(self.installation.new_run())["state_name"]))
        wrong = (*self._not_right(part, states, before), *self._not_whole())
        return Kill(part, seconds, tuple(states), wrong, time.monotonic() - began)

    def _kill_at(self, part: str, share: float) -> float:
        """Kill a part when a share of the run, or of the training, has passed; how many seconds into it that was.

        0 where the part had come to its end before: nothing was killed.
        """
        until(lambda: self.installation.processes("training" if part == "training" else "run"), "the run's beginning")
        # A training that goes faster than the one that was timed would be over before the latest moments.
        seconds = share * (0.7 * self.training if part == "training" else self.length)
        time.sleep(seconds)
        if not self.installation.kill(part):
            print(f"  After {seconds:.1f} s there was no {part} any more.", flush=True)
            return 0.0
        return seconds

    def _not_right(self, part: str, states: Sequence[str], before: Ledger) -> list[str]:
        """What did not end as it must."""
        after, found = ledger_of(self.installation), []
        first = {"run": ("Crashed", "Promoted"), "training": ("Failed", "Promoted")}.get(part, ("Promoted",))
        if states[0] not in first:
            found.append(f"the run ended {states[0]}")
        if states[1] != ("Unchanged" if states[0] == "Promoted" else "Promoted"):
            found.append(f"the next run ended {states[1]}")
        if after.events != before.events + 1:
            found.append(f"the champion moved {after.events - before.events} times")
        newest = max(version.version for version in registry.versions(self.installation.settings, NAME))
        if (after.champion, newest) != (before.champion + 1, before.champion + 1):
            found.append(f"version {newest} is the newest and {after.champion} live after {before.champion}")
        return found

    def _not_whole(self) -> list[str]:
        """What is not whole, after whoever closes what the dead left open has had time for it."""
        deadline = time.monotonic() + 60
        while (found := problems(self.installation)) and time.monotonic() < deadline:
            time.sleep(2)
        return found


def undisturbed(installation: Installation, deliveries: Deliveries) -> tuple[float, float]:
    """Seconds of a run and of its training's process when nobody kills anything; the second run, as it is warm."""
    deliveries.words = MOST_WORDS
    deliveries.deliver("alike", 0)
    installation.ended(installation.new_run())
    deliveries.deliver("alike", 1)
    run_id = installation.new_run()
    until(lambda: installation.processes("run"), "the run's beginning")
    began = time.monotonic()
    until(lambda: installation.processes("training"), "the training's beginning")
    learning = time.monotonic()
    until(lambda: not installation.processes("training"), "the training's end")
    learned = time.monotonic()
    state = installation.ended(run_id)["state_name"]
    if state != "Promoted":
        raise SystemExit(f"An undisturbed run ended {state}; no kill would show anything.")
    return time.monotonic() - began, learned - learning


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="parts to kill, of " + ", ".join(PARTS) + "; no result file")
    parser.add_argument("--keep", type=Path, help="a new folder that stays, to look at")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else []
    postgres_programs()  # what is missing is said before anything is made
    if options.keep and options.keep.exists():
        parser.error(f"{options.keep} is there already: name a new folder")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="rebert-kills-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    began = time.monotonic()
    try:
        kills = kill_all(folder.resolve(), moments(options.kills, only, options.seed))
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return report(kills, options.seed, time.monotonic() - began, whole=len(kills) >= KILLS and not only)


def kill_all(folder: Path, plan: Sequence[tuple[str, float]]) -> list[Kill]:
    """All rounds, each told as it ends."""
    deliveries = Deliveries(folder / "shop", gate=GATE)
    deliveries.deliver("first", 0)
    kills = []
    with installed(folder, deliveries.run_file) as installation:
        length, training = undisturbed(installation, deliveries)
        print(f"An undisturbed run takes {length:.0f} s, its training's process {training:.0f} s.", flush=True)
        rounds = Rounds(installation, deliveries, length, training)
        with suppress(KeyboardInterrupt):  # what was seen until then is told
            for number, (part, share) in enumerate(plan, 2):
                last = rounds.kill(number, part, share)
                kills.append(last)
                verdict = "; ".join(last.wrong) or "right"
                print(
                    f"{len(kills):2d} {part:9} {last.seconds:5.1f} s  {', '.join(last.states)}  {verdict}", flush=True
                )
    return kills


def report(kills: Sequence[Kill], seed: int, seconds: float, *, whole: bool) -> int:
    """Print the table; 0 when all was right."""
    table = Table(
        f"{len(kills)} kills at random moments of a run, seed {seed}", ("killed", "after s", "run, next run", "")
    )
    for kill in kills:
        table.add(
            kill.part,
            f"{kill.seconds:.1f}" if kill.seconds else "over already",
            ", ".join(kill.states),
            "; ".join(kill.wrong) or "right",
        )
    table.show()
    wrong = sum(bool(kill.wrong) for kill in kills)
    print(f"\n{len(kills)} kills in {seconds:.0f} s, after {wrong} of them something was wrong.")
    if whole:
        facts = {"kills": len(kills), "wrong": wrong, "seed": seed, "seconds": round(seconds)}
        write_result("kills", {"machine": machine(), "goal": GOAL, **facts}, [table])
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
