"""What computes the same network fastest: milliseconds of a batch, by engine and shape, and what each loses.

    python benchmarks/engines.py [--home FOLDER] [--rows 4000] [--threads 1] [--repeats 5] [--quick]

Takes the model that benchmarks/serving.py has trained. Every engine of components/models/engines is built from it, and,
where the packages onnx and onnxruntime are installed, onnxruntime with dynamic int8, the best that it has. They run in
turn, each shape several times; the best time of each counts. Accuracy is that of the first test rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from report import Table, machine, write_result
from serving import test_rows, train

SHAPES = ((1, 16), (1, 64), (8, 16), (16, 32), (32, 64))
GOAL = "the default is the fastest that loses no more than half a point"
Run = Callable[[Mapping[str, Any]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "rebert-serving-benchmark")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two repeats, 100 rows, no result file")
    options = parser.parse_args()
    repeats, count = (2, 100) if options.quick else (options.repeats, 1000)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    _, model = train(options.home.resolve(), options.rows)
    with tempfile.TemporaryDirectory() as scratch:
        predictors = built(model, Path(scratch), options.threads)
        runs: dict[str, Run] = {name: predictor.run for name, predictor in predictors.items()}
        if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
            runs["onnxruntime int8, dynamic"] = onnx_int8(predictors["torch"], Path(scratch), options.threads)
        times = measured(runs, repeats)
        fresh = {name: new_shapes(run) for name, run in runs.items()}
        scores = {name: accuracy(predictors["torch"], run, count) for name, run in runs.items()}
    title = f"Milliseconds of a batch (texts x tokens), {options.threads} thread(s)"
    table = Table(title, ("engine", *(f"{rows} x {tokens}" for rows, tokens in SHAPES), "a new shape", "accuracy"))
    for name, own in times.items():
        base = times["torch"]
        cells = [f"{ms:.1f} ({base[shape] / ms:.1f} x)" for shape, ms in own.items()]
        table.add(name, *cells, f"+{fresh[name]:.1f}", f"{scores[name]:.4f}")
    table.show()
    if not options.quick:
        plain = {name: {f"{rows}x{tokens}": ms for (rows, tokens), ms in own.items()} for name, own in times.items()}
        content = {"machine": machine(), "goal": GOAL, "milliseconds": plain, "new_shape_ms": fresh, "accuracy": scores}
        write_result("engines", content, [table])


def built(model: Path, scratch: Path, threads: int) -> dict[str, Any]:
    """Every engine of the project, and torch."""
    import torch

    from components.models.engine_building import build_engine
    from components.models.engines import engine_names
    from components.models.inference import Predictor, open_predictor

    torch.set_num_threads(threads)
    trained = Predictor.load(model)
    rows = [{"text": text} for text, _ in test_rows()[-128:]]  # those that are not asked about below
    found = {"torch": trained}
    for name in engine_names():
        if name != "torch":
            build_engine(name, model, trained, rows, scratch / name)
            found[name] = open_predictor(model, scratch / name, threads)
    return found


def onnx_int8(trained: Any, scratch: Path, threads: int) -> Run:
    """The exported network with weights in int8 and activations quantised as they come."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    example = trained.pad(trained.encode([{"text": "where is my card"}, {"text": "thanks"}]).features)

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = trained.run.network

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            return trained.task_type.forward(self.network, dict(zip(example, values, strict=True)))

    torch.onnx.export(
        Exported().eval(),
        tuple(torch.from_numpy(values) for values in example.values()),
        str(scratch / "plain.onnx"),
        input_names=list(example),
        output_names=["outputs"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in example},
        dynamo=False,
    )
    quantize_dynamic(str(scratch / "plain.onnx"), str(scratch / "int8.onnx"), weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(scratch / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))[0]


def batch(rows: int, tokens: int) -> dict[str, Any]:
    """Token ids without padding."""
    ids = np.random.default_rng(0).integers(1000, 20_000, (rows, tokens))
    ones, zeros = np.ones((rows, tokens), np.int64), np.zeros((rows, tokens), np.int64)
    return {"input_ids": ids, "token_type_ids": zeros, "attention_mask": ones}


def measured(runs: Mapping[str, Run], repeats: int) -> dict[str, dict[tuple[int, int], float]]:
    """The best time of each engine for each shape; all of them in turn."""
    best: dict[str, dict[tuple[int, int], float]] = {name: dict.fromkeys(SHAPES, float("inf")) for name in runs}
    for _ in range(repeats):
        for shape in SHAPES:
            inputs = batch(*shape)
            for name, run in runs.items():
                run(inputs)
                for _ in range(max(2, 160 // shape[0] // (shape[1] // 16))):
                    best[name][shape] = min(best[name][shape], _milliseconds(run, inputs))
    return best


def new_shapes(run: Run) -> float:
    """By how much the first batch of a shape takes longer than the second; the median."""
    shapes = [batch(3, tokens) for tokens in range(9, 57, 4)]
    return float(np.median([_milliseconds(run, inputs) - _milliseconds(run, inputs) for inputs in shapes]))


def accuracy(trained: Any, run: Run, count: int) -> float:
    """Share of the first test rows that get their label."""
    rows = test_rows()[:count]
    own = type(trained)(run, trained.tokenizer, trained.manifest)
    answers = own.predict([{"text": text} for text, _ in rows])
    return float(np.mean([answer["label"] == label for answer, (_, label) in zip(answers, rows, strict=True)]))


def _milliseconds(run: Run, inputs: Mapping[str, Any]) -> float:
    began = time.perf_counter()
    run(inputs)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
