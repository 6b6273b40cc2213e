"""Pretraining: making examples against the official algorithm, and training against a plain Hugging Face Trainer.

    python benchmarks/pretraining.py [--quick] [--repeats 3] [--steps 200] [--text FILE]

Examples: raw text to masked pairs, every document ten times, as the official script does by default. Ours is timed from
the file to the Arrow files and on until every example has been put together and masked; the official algorithm, in
Python throughout, from the file to ids in memory.
Training: masked words alone, the same network, text, length, batch and steps, measured in turn; tokens without padding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import Table, machine, write_result

from components.data.data_files import as_found
from components.pretraining.corpus import read_corpus
from components.pretraining.example_table import ExampleTable
from components.pretraining.examples import make_examples
from components.pretraining.pretraining import PhaseJob, pretrain_phase
from components.pretraining.vocabulary import new_base
from components.pretraining_config import PretrainingConfig
from components.records import BaseModel, ValidatedDataset
from components.training.devices import choose_device
from components.training.tokenization import load_tokenizer

HERE = Path(__file__).resolve().parent
TEXT = HERE.parent / "examples" / "pretrain_en" / "books.txt"
LENGTH, BATCH, DUPLICATES = 128, 32, 10
TOGETHER = 256  # examples that are put together at once; those of a training step would be a batch
GOALS = {"examples": 20.0, "training": 1.0}
GOAL = "20 times as many examples a second as the official algorithm; no fewer tokens a second than the plain Trainer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the text, few steps, one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--text", type=Path, default=TEXT, help="one sentence a line, blank lines between documents")
    parser.add_argument("--size", default="mini", help="of the network: tiny, mini, small, medium, base or large")
    options = parser.parse_args()
    repeats, steps = (1, 15) if options.quick else (options.repeats, options.steps)
    with tempfile.TemporaryDirectory() as scratch:
        text = _part_of(options.text, Path(scratch)) if options.quick else options.text
        examples = [_examples(text, Path(scratch) / f"examples-{number}") for number in range(repeats)]
        training = [_training(text, Path(scratch) / f"training-{n}", options.size, steps) for n in range(repeats)]
    tables = [_examples_table(examples), _training_table(training, options.size)]
    for table in tables:
        table.show()
    if not options.quick:
        content = {"machine": machine(), "goal": GOAL, "goals": GOALS, "examples": examples, "training": training}
        write_result("pretraining", {**content, "steps": steps, "text": options.text.name}, tables)


def _part_of(text: Path, folder: Path) -> Path:
    part = folder / "part.txt"
    blocks = text.read_text(encoding="utf-8").split("\n\n")
    part.write_text("\n\n".join(block[:4000] for block in blocks[:20]) + "\n", encoding="utf-8")
    return part


def _config(text: Path, size: str = "tiny", held_out: float = 0.2, **examples: Any) -> PretrainingConfig:
    return PretrainingConfig.model_validate(
        {
            "name": "bench",
            "corpus": {"files": str(text), "held_out": held_out},
            "model": {"size": size},
            "vocabulary": {"size": 8000},
            "examples": examples,
            "phases": [{"max_length": LENGTH, "batch_size": BATCH, "learning_rate": 1e-3}],
        }
    )


def _read(config: PretrainingConfig, text: Path, folder: Path) -> ValidatedDataset:
    folder.mkdir(parents=True)
    return read_corpus(config, [as_found(text)], folder)


def _vocabulary(config: PretrainingConfig, dataset: ValidatedDataset, folder: Path) -> BaseModel:
    folder.mkdir()
    base = new_base(config, dataset, None, folder)
    pieces = load_tokenizer(base).convert_ids_to_tokens(range(len(load_tokenizer(base))))
    (folder / "vocabulary.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return base


def _examples(text: Path, folder: Path) -> dict[str, Any]:
    """Seconds of both ways, and how many examples they make a second."""
    config = _config(text, held_out=0.05, duplicates=DUPLICATES)  # the official way holds nothing out
    base = _vocabulary(config, _read(config, text, folder / "corpus"), folder / "vocabulary")
    tokenizer = load_tokenizer(base)
    began = time.perf_counter()
    dataset = _read(config, text, folder / "again")
    (folder / "made").mkdir()
    made = make_examples(config, dataset, base, folder / "made")
    built = time.perf_counter() - began
    table = ExampleTable.of_phase(made, "train", 1, tokenizer, config)
    order = np.argsort(table.lengths, kind="stable")
    for start in range(0, len(order), TOGETHER):
        table.batch(order[start : start + TOGETHER])
    ours = {"examples": len(table), "seconds": time.perf_counter() - began, "without_batches": built}
    command = [HERE / "baselines" / "official_examples.py", text, folder / "vocabulary" / "vocabulary.txt"]
    theirs = _run([*command, LENGTH, DUPLICATES])
    rates = {"ours": ours["examples"] / ours["seconds"], "official": theirs["examples"] / theirs["seconds"]}
    print(f"  examples/s: official {rates['official']:,.0f}   ours {rates['ours']:,.0f}", flush=True)
    return {"ours": ours, "official": theirs, "ratio": rates["ours"] / rates["official"], "rates": rates}


def _training(text: Path, folder: Path, size: str, steps: int) -> dict[str, Any]:
    """Tokens a second of ours and of the two plain ways, one after the other."""
    config = _config(text, size, next_sentence=False)
    dataset = _read(config, text, folder / "corpus")
    base = _vocabulary(config, dataset, folder / "vocabulary")
    (folder / "made").mkdir()
    made = make_examples(config, dataset, base, folder / "made")
    sequences = made.sequences["train/phase-1"]
    phase = config.phases[0].model_copy(update={"epochs": min(1000, steps * BATCH / sequences)})
    training = config.training.model_copy(update={"evaluations": 1})
    config = config.model_copy(update={"phases": (phase,), "training": training})
    job = PhaseJob(config, 1, made, base, dataset, None, folder / "phase")
    pretrain_phase(job)
    found: dict[str, Any] = {"ours": _rate_of(folder / "phase" / "history.jsonl")}
    for form in ("lines", "packed"):
        command = [HERE / "baselines" / "plain_pretraining.py", folder / "vocabulary", text, LENGTH, BATCH, steps, form]
        found[form] = _run(command)["tokens_per_second"]
    found["device"] = choose_device(config.fine_tuning_settings(phase)).reason
    rates = "   ".join(f"{name} {found[name]:,.0f}" for name in ("lines", "packed", "ours"))
    print(f"  tokens/s: {rates}", flush=True)
    return found


def _rate_of(history: Path) -> float:
    lines = [json.loads(line)["metrics"] for line in history.read_text(encoding="utf-8").splitlines()]
    return statistics.median(line["tokens_per_second"] for line in lines if "tokens_per_second" in line)


def _run(command: list[Any]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _examples_table(found: list[dict[str, Any]]) -> Table:
    ratio = statistics.median(each["ratio"] for each in found)
    table = Table(f"Examples of {LENGTH} tokens from raw text", ("what", "examples/s, median", "of the official"))
    official = statistics.median(each["rates"]["official"] for each in found)
    table.add("the official algorithm in Python", f"{official:,.0f}", "1.0 ×")
    built = statistics.median(each["ours"]["examples"] / each["ours"]["without_batches"] for each in found)
    table.add("rebert, to Arrow files", f"{built:,.0f}", f"{built / official:.1f} × (goal ≥ {GOALS['examples']:.0f} ×)")
    ours = statistics.median(each["rates"]["ours"] for each in found)
    table.add("rebert, with every mask drawn", f"{ours:,.0f}", f"{ratio:.1f} ×")
    return table


def _training_table(found: list[dict[str, Any]], size: str) -> Table:
    title = f"Masked language modelling, a {size} BERT, {BATCH} × {LENGTH} tokens"
    table = Table(title, ("what", "tokens/s, median", "rebert against it"))
    for name, words in (("lines", "plain Trainer, a row a piece"), ("packed", "plain Trainer, documents joined")):
        rate = statistics.median(each[name] for each in found)
        ratio = statistics.median(each["ours"] / each[name] for each in found)
        table.add(words, f"{rate:,.0f}", f"{ratio:.2f} × (goal ≥ {GOALS['training']:.0f} ×)")
    table.add("rebert", f"{statistics.median(each['ours'] for each in found):,.0f}", "")
    return table


if __name__ == "__main__":
    main()
