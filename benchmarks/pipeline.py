"""A whole run against its bare training, and a run that has nothing to do.

    python benchmarks/pipeline.py [--rows 9000] [--epochs 4] [--repeats 3]

Each repeat makes a home in which one small model has been trained, so that the databases are there as they are for
every scheduled run. Then comes `rebert run` (validate, tokenize, train, evaluate, register, decide, bundle, prove,
promote), `rebert run` again, which finds nothing to do, and the same training alone in the same kind of process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from report import Table, machine, write_result

from components.config import Training
from components.processes.compute_process import child_environment
from components.training.devices import choose_device

ROOT = Path(__file__).resolve().parent.parent
GOAL = "at most 10 % + 15 s over the training; nothing to do: at most 6 s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=9_000, help="training rows of Banking77")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    runs = [measure(options.rows, options.epochs) for _ in range(options.repeats)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    over = medians["whole run"] - medians["bare training"]
    allowed = 0.1 * medians["bare training"] + 15
    table = Table("A whole run and its parts, seconds", ("part", "median", "all repeats"))
    for name, value in medians.items():
        digits = 4 if name.startswith("accuracy") else 1
        table.add(name, f"{value:.{digits}f}", ", ".join(f"{run[name]:.{digits}f}" for run in runs))
    table.add("run over training", f"{over:.1f}", f"allowed: {allowed:.1f}")
    table.show()
    write_result(
        "pipeline",
        {
            "machine": machine(),
            "goal": GOAL,
            "rows": options.rows,
            "epochs": options.epochs,
            "runs": runs,
            "medians": medians,
            "overhead_seconds": over,
            "allowed_seconds": allowed,
        },
        [table],
    )


def measure(rows: int, epochs: float) -> dict[str, float]:
    """Wall-clock seconds of one whole run, of its training alone, and of a second run."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rebert(folder, prepare(folder, 1500, 0.2, "first"))
        run_file = prepare(folder, rows, epochs, "banking77")
        whole, result = rebert(folder, run_file)
        steps = {f"  {step['name']}": step["seconds"] for step in result["steps"]}
        again, second = rebert(folder, run_file)
        if result["outcome"] != "promoted" or second["outcome"] != "unchanged":
            raise SystemExit(f"Not what is measured here: {result['reason']} / {second['reason']}")
        return {
            "accuracy on the frozen rows": result["metrics"]["accuracy"],
            "whole run": whole,
            **steps,
            "bare training": bare_training(folder, run_file),
            "second run, nothing to do": again,
        }


def prepare(folder: Path, rows: int, epochs: float, name: str) -> Path:
    """A run file in `folder` for the first `rows` shuffled rows of Banking77."""
    source = ROOT / "examples" / "banking77"
    header, *lines = (source / "train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    (folder / f"{name}.csv").write_text(header + "".join(lines[:rows]), encoding="utf-8")
    for held_out in ("validation.csv", "test.csv"):
        shutil.copy(source / held_out, folder / held_out)
    shutil.copytree(ROOT / "examples" / "behaviour", folder / "behaviour", dirs_exist_ok=True)
    content: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "banking77.yaml").read_text(encoding="utf-8"))
    content["name"] = name
    content["gate"]["floor"] = 0.0
    content["data"] |= {"train": f"{name}.csv", "validation": "validation.csv", "test": "test.csv"}
    content["validation"]["min_rows_per_label"] = 1
    content["training"]["epochs"] = epochs
    content["validation"]["max_quarantined_share"] = 1.0
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / f"{name}.yaml"


def rebert(folder: Path, run_file: Path) -> tuple[float, dict[str, Any]]:
    """Seconds and result of `rebert run`, in a process of its own, from a cold start."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", str(run_file), "--json"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)


def bare_training(folder: Path, run_file: Path) -> float:
    """Seconds of the same training alone, in a process of its own, from a cold start."""
    alone = folder / "alone"
    alone.mkdir()
    command = [sys.executable, str(ROOT / "benchmarks" / "bare_training.py"), str(run_file), str(folder / "home")]
    variables = environment(folder) | child_environment(choose_device(Training()).threads, None)
    begun = time.perf_counter()
    with (alone / "log").open("wb") as log:
        subprocess.run([*command, str(alone)], cwd=ROOT, env=variables, check=True, stdout=log, stderr=log)
    return time.perf_counter() - begun


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"REBERT_HOME": str(folder / "home")}


if __name__ == "__main__":
    main()
