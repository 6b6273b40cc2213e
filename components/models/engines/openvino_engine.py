"""OpenVINO: the traced network for CPUs, in float32, bfloat16, or int8 calibrated on training rows.

Static int8, not dynamic: its answers do not depend on what else is in the batch. benchmarks/engines.py measures it
beside torch and onnxruntime. A batch of a shape that it has not seen costs several times as much, hence few shapes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.models.engines.base import Engine, Source
from components.priority import with_threads_that_give_way
from components.task_types.base import Arrays, Run

GRAPH = "graph.xml"
TELEMETRY = "openvino_telemetry"  # sends a word home with every conversion unless it cannot be imported
PRECISIONS = {"f32": "FP32", "bf16": "BF16"}  # as a hint, and as the CPU plugin lists what it has


class CompiledGraph:
    """A graph that several threads may ask at once.

    Args:
        compiled: an openvino.CompiledModel.
    """

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.free: list[Any] = []

    def ask(self, inputs: Arrays) -> NDArray[np.float32]:
        """Raw outputs of a padded batch."""
        try:
            request = self.free.pop()  # atomic: no two threads get the same
        except IndexError:
            request = self.compiled.create_infer_request()
        outputs: NDArray[np.float32] = np.array(request.infer(dict(inputs), share_inputs=True)[0], np.float32)
        self.free.append(request)
        return outputs


class OpenVinoRun:
    """A graph compiled twice: a batch that comes alone is computed by all cores, those that come beside it by one each.

    Alone, a short text takes two thirds of the time on two cores; a core for each batch gives a sixth more of them.
    Where OpenVINO's binding meets NumPy for the first time in two threads at once, each waits for what the other holds
    (the interpreter, and the guard of a C++ static): one start in thirty hung for good, so the first one goes alone.

    Args:
        beside: compiled with a stream for each core.
        alone: compiled with one stream of all cores; None where there is one core.
    """

    has_met_numpy = False
    first_time = threading.Lock()

    def __init__(self, beside: Any, alone: Any = None) -> None:
        self.beside = CompiledGraph(beside)
        self.alone = CompiledGraph(alone) if alone else self.beside
        self.at_work = 0
        self.crowded = False  # whether the newest batch came beside another: the next one may well, too
        self.counting = threading.Lock()

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """Raw outputs of a padded batch."""
        if OpenVinoRun.has_met_numpy:
            return self._ask(inputs)
        with OpenVinoRun.first_time:
            outputs = self._ask(inputs)
            OpenVinoRun.has_met_numpy = True
            return outputs

    def _ask(self, inputs: Arrays) -> NDArray[np.float32]:
        with self.counting:
            graph = self.beside if self.at_work or self.crowded else self.alone
            self.crowded = self.at_work > 0
            self.at_work += 1
        try:
            return graph.ask(inputs)
        finally:
            with self.counting:
                self.at_work -= 1


class OpenVinoEngine(Engine):
    """One graph file with its weights."""

    packages = ("openvino", "tokenizers")
    thread_per_batch = True
    row_sizes = (1, 2, 4, 8, 16)
    length_step = 8

    def __init__(self, name: str, precision: str, tolerance: float, drift: float, *, quantised: bool = False) -> None:
        self.name, self.tolerance, self.drift = name, tolerance, drift
        self.precision, self.quantised = precision, quantised

    def is_useful(self) -> bool:
        """float32 and int8 run anywhere, bfloat16 where the processor has it."""
        return self.quantised or PRECISIONS[self.precision] in _capabilities()

    def tolerance_here(self) -> float:
        """Twice as much where the processor has no bfloat16: it then computes in float32 what was measured in that."""
        return self.tolerance * (1 if PRECISIONS[self.precision] in _capabilities() else 2)

    def build(self, source: Source, folder: Path) -> None:
        """Trace the network, quantise it if that is what this engine does, write the graph."""
        graph = _trace(source)
        if self.quantised:
            graph = _quantise(graph, source)
        # bfloat16 keeps fewer digits than float16 does, so half the size costs it nothing.
        _openvino().save_model(graph, folder / GRAPH, compress_to_fp16=self.precision != "f32")

    def open(self, folder: Path, model: Path, threads: int) -> Run:  # noqa: ARG002 - it has weights of its own
        precision = self.precision if PRECISIONS[self.precision] in _capabilities() else "f32"
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        core, streams = _openvino().Core(), (threads, 1) if threads > 1 else (1,)
        compiled = with_threads_that_give_way(
            lambda count: core.compile_model(folder / GRAPH, "CPU", options | {"NUM_STREAMS": count}), streams
        )
        return OpenVinoRun(*compiled)


def _openvino() -> Any:
    """The library, without its telemetry."""
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type] # what may not be imported stands there as None
    import openvino

    return openvino


def _capabilities() -> Sequence[str]:
    found: Sequence[str] = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def _trace(source: Source) -> Any:
    """The graph of `TaskType.forward`, with free numbers of windows and tokens."""
    import torch

    names = list(source.batches[0])

    class Traced(torch.nn.Module):  # only a module can be traced; it gets the inputs in their order
        def __init__(self) -> None:
            super().__init__()
            self.network = source.network

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            return source.task_type.forward(self.network, dict(zip(names, values, strict=True))).float()

    example = tuple(torch.from_numpy(values) for values in source.batches[0].values())
    graph = _openvino().convert_model(Traced().eval(), example_input=example)
    for port, name in zip(graph.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    return graph


def _quantise(graph: Any, source: Source) -> Any:
    """The graph in int8, its scales from what the calibration batches make of its activations."""
    _openvino()
    import nncf

    return nncf.quantize(
        graph,
        nncf.Dataset(list(source.batches), dict),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(source.batches),
    )


ENGINES: tuple[Engine, ...] = (
    OpenVinoEngine("openvino-int8", "bf16", tolerance=0.03, drift=0.15, quantised=True),
    OpenVinoEngine("openvino-bf16", "bf16", tolerance=0.03, drift=0.06),
    OpenVinoEngine("openvino", "f32", tolerance=1e-4, drift=1e-4),
)
