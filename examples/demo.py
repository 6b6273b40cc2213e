"""Three weeks in the life of a model, as a team would live them: `make demo`.

Real data (Banking77), a real encoder, the real commands: every line that begins with `$` is a command that you can
type yourself. Everything lies in the folder `demo/`, which is made anew each time.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from components.garbage import collect_rarely

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "examples" / "banking77"
RUN_FILE = ROOT / "examples" / "demo.yaml"
DEMO = Path("demo")
MARK = ".made-by-the-demo"
NAME = "banking77"
QUESTION = "How do I activate my new card?"
WEEK_1_ROWS, WEEK_2_ROWS, WEEK_3_ROWS = 700, 600, 250
VALIDATION_ROWS, TEST_ROWS = 231, 924
SHUFFLED_SHARE = 0.7
PORT = 3000
SERVERS = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")  # of other work: nothing of the demo belongs there

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Week:
    """One line of the closing table."""

    week: str
    delivery: str
    result: dict[str, Any]
    served: str
    seconds: float


def main() -> None:
    """Live through the three weeks, with no server of other work."""
    left_out = [name for name in SERVERS if os.environ.pop(name, None)]
    begun = time.monotonic()
    collect_rarely()
    rows = prepare()
    port = free_port()
    weeks: list[Week] = []

    say("Week 1: the first delivery")
    deliver("week-1.csv", rows[:WEEK_1_ROWS])
    weeks.append(live(f"week-1.csv, {WEEK_1_ROWS:,} rows", None))
    server = serve(port)
    try:
        weeks[0] = answered(weeks[0], port, 1)

        say("Week 2: a bigger delivery")
        deliver("week-2.csv", rows[WEEK_1_ROWS : WEEK_1_ROWS + WEEK_2_ROWS])
        weeks.append(answered(live(f"week-2.csv, {WEEK_2_ROWS:,} rows more", None), port, 2))

        say("Week 3: a bad delivery; some texts are empty, one label is unknown, most labels are shuffled")
        bad = spoiled(rows[WEEK_1_ROWS + WEEK_2_ROWS :][:WEEK_3_ROWS])
        deliver("week-3.csv", bad)
        weeks.append(answered(live(f"week-3.csv, {WEEK_3_ROWS:,} rows more, bad", "stopped by validation"), port, 2))

        say("Week 3 again: somebody removes what validation named, and sends the rest, shuffled as it is")
        deliver("week-3.csv", [row for row in bad if row["text"].strip() and row["label"] != "crypto_wallet"])
        weeks.append(answered(live("week-3.csv, the same without those rows", "stopped by the gate"), port, 2))
    finally:
        server.terminate()
        server.wait(timeout=30)
    closing_table(weeks, time.monotonic() - begun, port, in_any_shell(left_out))


def prepare() -> Rows:
    """An empty demo folder with the frozen rows, and the training rows from which the deliveries are cut."""
    if DEMO.exists() and not (DEMO / MARK).exists():
        raise SystemExit(f"{DEMO.resolve()} is there, and this demo did not make it. Move it away first.")
    shutil.rmtree(DEMO, ignore_errors=True)
    (DEMO / "deliveries").mkdir(parents=True)
    (DEMO / MARK).touch()
    shutil.copy(RUN_FILE, DEMO / f"{NAME}.yaml")
    write_rows(DEMO / "validation.csv", in_proportion(read_rows("validation.csv"))[:VALIDATION_ROWS])
    write_rows(DEMO / "test.csv", in_proportion(read_rows("test.csv"))[:TEST_ROWS])
    return in_proportion(read_rows("train.csv"))


def read_rows(name: str) -> Rows:
    """The rows of one of the shipped files."""
    with (SOURCE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def in_proportion(rows: Rows) -> Rows:
    """Rows in an order that a seed fixes, of which every stretch has all labels in proportion."""
    random.Random(7).shuffle(rows)
    totals, seen, place = Counter(row["label"] for row in rows), Counter[str](), []
    for row in rows:
        place.append((seen[row["label"]] + 0.5) / totals[row["label"]])
        seen[row["label"]] += 1
    return [rows[index] for index in sorted(range(len(rows)), key=place.__getitem__)]


def spoiled(rows: Rows) -> Rows:
    """A bad delivery: most labels shuffled among their rows, five texts empty, one label that nobody knows."""
    generator = random.Random(3)
    bad = [dict(row) for row in rows]
    shuffled = generator.sample(range(len(bad)), int(SHUFFLED_SHARE * len(bad)))
    labels = [bad[index]["label"] for index in shuffled]
    generator.shuffle(labels)
    for index, label in zip(shuffled, labels, strict=True):
        bad[index]["label"] = label
    for index in (10, 60, 120, 180, 240):
        bad[index]["text"] = "  "
    bad[100]["label"] = "crypto_wallet"
    return bad


def deliver(name: str, rows: Rows) -> None:
    """Put a file where the run file looks for deliveries."""
    path = DEMO / "deliveries" / name
    write_rows(path, rows)
    say(f"  {path}: {len(rows):,} rows", plain=True)


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)


def live(delivery: str, expected: str | None) -> Week:
    """One scheduled run, as the command `rebert run` does it."""
    begun = time.monotonic()
    show_command("rebert", "run", str(DEMO / f"{NAME}.yaml"))
    result = run_in_this_process(DEMO / f"{NAME}.yaml")
    say(f"  {result['outcome']}: {result['reason']}", plain=True)
    if (result["outcome"] == "promoted") != (expected is None):
        raise SystemExit("That is not what this demo shows: please report it with the lines above.")
    return Week(expected or "went live", delivery, result, "", time.monotonic() - begun)


def run_in_this_process(run_file: Path) -> dict[str, Any]:
    """What `rebert run` does, without starting Python and its libraries anew each week."""
    from flows.command_line import this_installation
    from flows.running import execute_run

    result, _ = execute_run(run_file, this_installation())
    return result


def free_port() -> int:
    """The usual port, or another one where something else listens on it."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("No port is free.")


def serve(port: int) -> subprocess.Popen[bytes]:
    """The endpoint, running until the demo ends; it takes up later promotions by itself."""
    show_command("rebert", "serve", NAME, "--port", str(port), "&")
    command = [sys.executable, "-m", "flows.cli", "serve", NAME, "--port", str(port)]
    log = (DEMO / "endpoint.log").open("wb")
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def answered(week: Week, port: int, version: int) -> Week:
    """Ask the endpoint over HTTP, once it serves the version that should be live."""
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while _served_version(url) != version:
        if time.monotonic() > deadline:
            raise SystemExit(f"The endpoint does not serve version {version}; see {DEMO / 'endpoint.log'}.")
        time.sleep(0.1)
    body = {"texts": [QUESTION]}
    show_command("curl", "-s", f"{url}/predict", "-H", "'content-type: application/json'", f"-d '{json.dumps(body)}'")
    answer = httpx.post(f"{url}/predict", json=body, timeout=30).raise_for_status().json()
    best = answer["predictions"][0]
    say(f"  version {answer['version']} says: {best['label']} ({best['score']:.2f})", plain=True)
    return Week(week.week, week.delivery, week.result, f"version {answer['version']}", week.seconds)


def _served_version(url: str) -> int | None:
    try:
        return int(httpx.get(f"{url}/model", timeout=2).raise_for_status().json()["version"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None


def in_any_shell(left_out: Sequence[str]) -> str:
    """What calls `rebert` as the demo does, also where the servers of other work are named."""
    servers = [f"-u {name}" for name in left_out]
    words = [*(["env", *servers] if servers else []), f"REBERT_HOME={os.environ['REBERT_HOME']}"]
    return " ".join([*words, str(Path(sys.executable).parent / "rebert")])


def closing_table(weeks: Sequence[Week], seconds: float, port: int, rebert: str) -> None:
    """What happened, and what to type next; `rebert` calls it in any shell."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Three weeks", title_justify="left")
    for column in ("delivery", "outcome", "accuracy", "served", "seconds"):
        table.add_column(column)
    for week in weeks:
        score = week.result["metrics"].get("accuracy")
        shown = f"{score:.4f}" if score is not None else ""
        outcome = f"{week.result['outcome']} ({week.week})"
        table.add_row(week.delivery, outcome, shown, week.served, f"{week.seconds:.0f}")
    Console(width=110).print(table)
    for week in weeks:
        say(f"  {week.delivery}: {week.result['reason']}", plain=True)
    say(f"Done in {seconds:.0f} seconds. Try:")
    for what, line in (
        ("compare the runs in the MLflow UI", f"{rebert} ui"),
        ("serve the champion", f"{rebert} serve {NAME} --port {port}"),
        (
            "ask it",
            f"curl -s http://127.0.0.1:{port}/predict -H 'content-type: application/json' "
            f"-d '{json.dumps({'texts': [QUESTION]})}'",
        ),
        ("see why week 3 was refused", f"{rebert} explain {NAME} 3"),
        ("go back to week 1's model", f"{rebert} rollback {NAME} --reason 'trying it'"),
    ):
        say(f"  # {what}\n  {line}", plain=True)


def say(text: str, *, plain: bool = False) -> None:
    """A line of the story."""
    sys.stdout.write(f"{text}\n" if plain else f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n")
    sys.stdout.flush()


def show_command(*words: str) -> None:
    """The command that a person would type here."""
    say("$ " + " ".join(words), plain=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    os.environ.setdefault("REBERT_HOME", str((DEMO / ".rebert").resolve()))
    main()
