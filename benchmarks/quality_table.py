"""The measurements of quality as they are kept in results/quality.json, and the table that is made of them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
from typing import Any

from quality_lines import LINES
from report import RESULTS, Table, machine, write_result

Run = dict[str, Any]  # score, seconds, metric and all scores of one system with one seed
Measured = dict[str, dict[str, Any]]  # settings, rows and runs by system and seed, of each line
NAME = "quality"
HEADER = (
    *("task type", "language", "data set", "training rows", "test rows", "metric", "rebert", "plain script"),
    *("difference", "simple baseline", "seconds rebert / plain"),
)
NOTE = (
    "Scores in percent, mean ± standard deviation over the seeds; correlations times 100. All systems have the same "
    "rows, checkpoint, epochs, batch size, learning rate, longest input and precision; the plain scripts keep the last "
    "epoch's weights, this project the best epoch's. The reference that scores them shares no code with any. For "
    "several labels this project fits a threshold a label, the plain script and the baseline one for all labels, on "
    "the validation rows; for unanswerable questions it fits a threshold, where run_qa.py's default is 0. A plain "
    "script cuts a long text where this project reads it in windows; the plain tagger is given the data's own words, "
    "in the test rows as well, where this project reads running text; of cluener's words, single characters, a "
    "SentencePiece tokenizer makes a space and the character each, and run_ner.py's rule tags the space. Lines were "
    "measured on two kinds of processor, one with bf16 and one without; each line's systems had the same precision, "
    "which results/quality.json names. Seconds are those of the training steps with one evaluation an epoch, on a "
    "machine that did other work as well: they compare no speeds, which benchmarks/finetune_cpu.py does. Zero-shot: "
    "both read with the same entailment model, which this project trains on sick_nli, or with the base model's "
    "embeddings. zh_qa_flat: contexts cut to 80 characters around the answer, at a random place; F1 and exact match by "
    "CMRC's rules, in English by SQuAD's. fill_mask: a random encoder of 2 layers of 128 with a vocabulary of its "
    "training texts in place of a checkpoint; one whole word of each test text is hidden."
)


def read_measured() -> Measured:
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text(encoding="utf-8"))["lines"] if path.exists() else {}


def write_measured(measured: Measured, *, quiet: bool = False) -> None:
    """Write results/quality.json with the lines in the order of the table."""
    lines = {line.name: measured[line.name] for line in LINES if line.name in measured}
    content = {
        "arguments": ["--data", "FOLDER", "--chinese-model", "FOLDER"],  # not of the last call, which may be one line
        "goal": "never below a plain script from the same checkpoint by more than the noise of its seeds",
        "machine": machine(),
        "load": os.getloadavg(),
        "note": NOTE,
        "lines": lines,
    }
    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        write_result(NAME, content, [make_table(lines)])


def make_table(measured: Measured) -> Table:
    """One line for each data set that all three systems have answered at least once."""
    table = Table("Quality by task type and language", HEADER)
    for line in LINES:
        found = measured.get(line.name)
        runs = found["runs"] if found else {}
        both = runs.get("rebert", {}).keys() & runs.get("plain", {}).keys()
        if found is None or not both or not runs.get("simple"):
            continue
        ours, plain = ([runs[system][seed] for seed in sorted(both)] for system in ("rebert", "plain"))
        task = found["settings"]["task"]
        detail = ", ".join(str(task[key]) for key in ("decoder", "source") if key in task)
        table.add(
            f"{line.task_type} ({detail})" if detail else line.task_type,
            line.language,
            line.data.removesuffix(".txt"),
            found["rows"]["train"],
            found["rows"]["test"],
            ours[0]["metric"],
            _spread(ours),
            _spread(plain),
            f"{_mean(ours) - _mean(plain):+.1f}",
            _simple(runs["simple"]["0"], plain[0]),
            f"{_seconds(ours):.0f} / {_seconds(plain):.0f}",
        )
    return table


def _mean(runs: list[Run]) -> float:
    return 100 * statistics.mean(run["score"] for run in runs)


def _spread(runs: list[Run]) -> str:
    if len(runs) == 1:
        return f"{_mean(runs):.1f}"
    return f"{_mean(runs):.1f} ± {100 * statistics.stdev(run['score'] for run in runs):.1f}"


def _simple(run: Run, plain: Run) -> str:
    before = f"; before training {100 * plain['before'][plain['metric']]:.1f}" if "before" in plain else ""
    return f"{100 * run['score']:.1f} ({run['name']}){before}"


def _seconds(runs: list[Run]) -> float:
    return statistics.median(run["seconds"] for run in runs)
