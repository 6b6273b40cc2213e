"""How good each task type is in both languages: this project, a plain Hugging Face script and a simple baseline.

`python benchmarks/quality.py --data FOLDER --chinese-model FOLDER` with the public data sets, of which many are for
research only and are not in this repository. All systems get the same rows, checkpoint, epochs, batch size, learning
rate and longest input, and are scored by the same reference. Lines that were measured with the same settings are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quality_data import write_job
from quality_job import ANSWERS, Job
from quality_lines import ENGLISH_BASE, LINES, Line
from quality_scores import differing, score
from quality_scratch import write_random_encoder
from quality_table import Measured, Run, make_table, read_measured, write_measured

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
QUICK_ROWS = 64
PLAIN = {
    "text_classification": "plain_sequence",
    "multi_label": "plain_sequence",
    "regression": "plain_sequence",
    "token_classification": "plain_tagger",
    "question_answering": "plain_reader",
    "zero_shot": "plain_zero_shot",
    "fill_mask": "plain_masks",
}


class Failure(Exception):
    """A system that ended with an error, and the end of what it wrote."""


@dataclass(frozen=True)
class Place:
    """Where a run finds its data and its scratch folder, and how it runs."""

    data: Path
    chinese_model: Path | None
    scratch: Path
    running: Mapping[str, str]  # device and precision
    threads: int

    def base(self, line: Line) -> str:
        """The folder of what the line's training begins with."""
        if line.scratch:
            return write_random_encoder(line, line.scratch, self.data, self.scratch / line.name / "base")
        if line.language == "zh":
            return str(self.chinese_model)
        from components.models.base_models import resolve_base_model

        return str(resolve_base_model(ENGLISH_BASE, Path()).folder)

    def settings(self, line: Line) -> dict[str, Any]:
        """What a measurement depends on; a run with the same is kept."""
        base = ENGLISH_BASE if line.language == "en" else self.chinese_model and self.chinese_model.name
        settings = {**line.settings(), "base": base, **self.running, "threads": self.threads}
        nli = LINE_BY_NAME[line.nli].settings() if line.nli else None
        return json.loads(json.dumps({**settings, "nli": nli}))


LINE_BY_NAME = {line.name: line for line in LINES}


def main() -> None:
    options = _options()
    measured = {} if options.quick else read_measured()
    failed = []
    chosen = [line for line in LINES if not options.only or line.name in options.only]
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        running = _running(options.device)
        place = Place(options.data.resolve(), options.chinese_model, Path(scratch), running, options.threads)
        for number, line in enumerate(chosen, 1):
            print(f"{number}/{len(chosen)} {line.name} ({line.task_type}, {line.language})", flush=True)
            if why := _missing(line, place):
                print(f"  skipped: {why}")
                continue
            try:
                _measure(_sized(line, options), place, measured, options)
            except Failure as error:
                failed.append(line.name)
                print(f"  failed: {error}", flush=True)
            shutil.rmtree(place.scratch / line.name, ignore_errors=True)
            if not options.quick:
                write_measured(measured)
    make_table(measured).show()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _running(device: str) -> dict[str, str]:
    """The device, and the precision that this project chooses on it; all systems get it."""
    from components.config import Training
    from components.training.devices import choose_device

    return {"device": device, "precision": choose_device(Training.model_validate({"device": device})).precision}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets")
    parser.add_argument("--chinese-model", type=Path, help="folder of a Chinese encoder; without it no Chinese lines")
    parser.add_argument("--only", nargs="+", choices=sorted(LINE_BY_NAME), metavar="NAME", help="lines to measure")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="training rows of each line, instead of its own number")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the other systems")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured with the same settings")
    parser.add_argument("--quick", action="store_true", help="few rows, one epoch, one seed, nothing written")
    options = parser.parse_args()
    if options.chinese_model:
        options.chinese_model = options.chinese_model.resolve()
    return options


def _sized(line: Line, options: argparse.Namespace) -> Line:
    if options.quick:
        return line.small(options.rows or QUICK_ROWS)
    return replace(line, rows=options.rows) if options.rows else line


def _missing(line: Line, place: Place) -> str | None:
    """Why a line cannot be measured here."""
    from components.task_types import task_type_names

    if line.task_type not in task_type_names():
        return f"there is no task type {line.task_type} yet."
    if line.language == "zh" and place.chinese_model is None:
        return "no --chinese-model is given."
    return None if (place.data / line.data).exists() else f"there is no {line.data} in {place.data}."


def _measure(line: Line, place: Place, measured: Measured, options: argparse.Namespace) -> None:
    """All runs of a line that are not there yet; they are in `measured` as soon as they are finished."""
    settings = place.settings(line)
    known = measured.get(line.name)
    if options.again or known is None or known["settings"] != settings:
        known = measured[line.name] = {"settings": settings, "runs": {}, "rows": {}}
    seeds = range(options.seeds if line.trained and not options.quick else 1)
    todo = _todo(line, seeds, known["runs"])
    if not todo:
        print("  kept from before")
        return
    folder = place.scratch / line.name
    nli = _write_entailment(line, place, options) if line.nli else None
    job = write_job(line, place.data, place.base(line), folder / "job", place.running, nli)
    known["rows"] = {split: len(job.rows(split)) for split in ("train", "validation", "test")}
    for system, seed in todo:
        run = _same_elsewhere(line, system, seed, measured, settings) or _run(line, system, seed, job, place)
        known["runs"].setdefault(system, {})[str(seed)] = run
        name = f"{system} ({run['name']})" if "name" in run else system
        print(f"  seed {seed}  {name:40}  {run['score']:.4f}  {run['seconds']:6.1f} s", flush=True)
        if not options.quick:
            write_measured(measured, quiet=True)


def _todo(line: Line, seeds: range, runs: dict[str, dict[str, Run]]) -> list[tuple[str, int]]:
    """Systems and seeds that have no score yet; this project comes before the plain script in each seed.

    A plain zero-shot script reads with the entailment model that this project trains just before.
    """
    todo = [] if "0" in runs.get("simple", {}) else [("simple", 0)]
    for seed in seeds:
        lacking = [system for system in ("rebert", "plain") if str(seed) not in runs.get(system, {})]
        todo += [(system, seed) for system in (("rebert", "plain") if line.nli and lacking else lacking)]
    return todo


def _write_entailment(line: Line, place: Place, options: argparse.Namespace) -> Path:
    judge = _sized(LINE_BY_NAME[str(line.nli)], options)
    folder = place.scratch / line.name / "nli"
    write_job(judge, place.data, place.base(judge), folder, place.running, None)
    return folder


def _same_elsewhere(line: Line, system: str, seed: int, measured: Measured, settings: dict[str, Any]) -> Run | None:
    """The run of another line that differs only in what this system does not know."""
    other = measured.get(line.plain_of or "")
    if other is None or system == "rebert":
        return None
    own = {name: value for name, value in settings.items() if name not in ("name", "task", "plain_of")}
    alike = own.items() <= other["settings"].items()
    return other["runs"].get(system, {}).get(str(seed)) if alike else None


def _run(line: Line, system: str, seed: int, job: Job, place: Place) -> Run:
    """Score and seconds of one system with one seed, in a process of its own.

    Raises:
        Failure: it ended with an error.
    """
    scratch = job.folder.parent / f"{system}-{seed}"
    scratch.mkdir()
    script = {
        "rebert": HERE / "quality_rebert.py",
        "plain": HERE / "baselines" / f"{PLAIN[line.task_type]}.py",
        "simple": HERE / "baselines" / "simple_baselines.py",
    }[system]
    command = [sys.executable, str(script), "--job", str(job.folder), "--scratch", str(scratch), "--seed", str(seed)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "OMP_NUM_THREADS": str(place.threads),
        "GOMP_SPINCOUNT": "10000",  # with long spinning, a system whose threads wait for a core is ten times slower
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{system}, seed {seed}:\n{done.stderr[-2000:]}")
    found = json.loads((scratch / ANSWERS).read_text(encoding="utf-8"))
    shutil.rmtree(scratch)  # a model each
    truths = job.rows("test")
    scores = score(line.task_type, line.language, truths, found["answers"])
    metric, first = next(iter(scores.items()))
    run: Run = {"score": first, "metric": metric, "seconds": round(found["seconds"], 2), "scores": scores}
    if "before" in found:
        run["before"] = score(line.task_type, line.language, truths, found["before"])
    for sentence in differing(scores, found.get("metrics", {})):
        print(f"  {sentence}")
    return {**run, **{name: found[name] for name in ("name", "metrics") if name in found}}


if __name__ == "__main__":
    main()
