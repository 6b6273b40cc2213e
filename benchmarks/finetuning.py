"""What the fine-tuning benchmarks share: one training of this project or of a baseline, in its own process."""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "benchmarks" / "baselines"
REBERT = "rebert"


@dataclass(frozen=True)
class Setting:
    """What every system trains: the same rows, epochs, batch size and learning rate."""

    data: Path
    base: Path
    rows: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    device: str = "cpu"
    bf16: bool = False
    threads: int = os.cpu_count() or 1


def train(system: str, setting: Setting, seed: int) -> dict[str, float]:
    """Samples a second, seconds and test accuracy of one training."""
    with tempfile.TemporaryDirectory() as scratch:
        command = _command(system, setting, seed, scratch)
        # Short spinning for all: with the default, a system whose threads wait for a core is ten times slower.
        threads = {"OMP_NUM_THREADS": str(setting.threads), "GOMP_SPINCOUNT": "10000"}
        environment = {**os.environ, **threads, "TRANSFORMERS_VERBOSITY": "error"}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _command(system: str, setting: Setting, seed: int, scratch: str) -> list[str]:
    script = Path(__file__) if system == REBERT else BASELINES / f"{system}.py"
    options = {
        "--data": setting.data,
        "--base": setting.base,
        "--epochs": setting.epochs,
        "--batch-size": setting.batch_size,
        "--learning-rate": setting.learning_rate,
        "--seed": seed,
        "--device": setting.device,
        "--scratch": scratch,
        **({"--rows": setting.rows} if setting.rows else {}),
    }
    listed = [str(part) for pair in options.items() for part in pair]
    return [sys.executable, str(script), *listed, *(["--bf16"] if setting.bf16 else [])]


def compare(systems: list[str], setting: Setting, seeds: list[int]) -> dict[str, list[dict[str, float]]]:
    """Every system with every seed, one after the other in each seed, so that the machine's moods reach all alike."""
    found: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    for seed in seeds:
        for system in systems:
            result = train(system, setting, seed)
            found[system].append(result)
            rate, accuracy = result["samples_per_second"], result["accuracy"]
            print(f"  seed {seed}  {system:14}  {rate:8.1f} samples/s  accuracy {accuracy:.4f}", flush=True)
    return found


def summary(runs: list[dict[str, float]]) -> tuple[float, float, float]:
    """Median samples a second, mean accuracy, and its standard deviation over the seeds."""
    accuracies = [run["accuracy"] for run in runs]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return statistics.median(run["samples_per_second"] for run in runs), statistics.mean(accuracies), spread


def ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """Median over the seeds of our samples a second divided by theirs in the same seed."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(a["samples_per_second"] / b["samples_per_second"] for a, b in pairs)


def main() -> None:
    """One training of this project; prints the line that a baseline prints."""
    sys.path[:0] = [str(ROOT), str(BASELINES)]
    from reading import parse_options

    options = parse_options(main.__doc__)
    model = _train_here(options, Path(options.scratch))
    rows = _read(options.data / "test.csv")
    from components.models.inference import Predictor

    answers = Predictor.load(model.folder, options.device).predict(rows)
    right = sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True))
    result = {"samples_per_second": model.samples_per_second, "seconds": model.seconds, "accuracy": right / len(rows)}
    print(json.dumps(result))


def _train_here(options: Any, folder: Path) -> Any:
    from components.config import RunConfig
    from components.models.base_models import resolve_base_model
    from components.training.tokenization import tokenize_dataset
    from components.training.training_process import train_in_process

    training = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "device": options.device,
        "early_stopping_patience": None,  # all systems train all epochs
    }
    content = {"name": "benchmark", "data": {"train": "train.csv"}, "model": {"base": options.base}}
    same_network = {"pooling": "cls"}  # what the other systems train; the mean of the tokens would be more accurate
    config = RunConfig.model_validate({**content, "task": same_network, "training": training})
    base = resolve_base_model(options.base, folder)
    dataset = _dataset(options, folder / "data")
    tokens = tokenize_dataset(config, dataset, base, folder / "tokens")
    return train_in_process(config, tokens, base, dataset, folder / "training")


def _dataset(options: Any, folder: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.records import ValidatedDataset

    folder.mkdir()
    rows = {split: _read(options.data / f"{split}.csv") for split in ("train", "validation")}
    labels = tuple(sorted({row["label"] for row in rows["train"]}))
    if options.rows:
        rows["train"] = random.Random(0).sample(rows["train"], options.rows)
    for split, content in rows.items():
        pq.write_table(pa.Table.from_pylist(content), folder / f"{split}.parquet")
    return ValidatedDataset(folder, "benchmark", {split: len(x) for split, x in rows.items()}, labels, 0, {}, ())


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
