"""Torch: the network as it was trained, on the CPU or on a GPU, in float32 or bfloat16."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.models.engines.base import Engine, Source
from components.models.model_directory import read_manifest
from components.task_types import find_task_type
from components.task_types.base import Arrays, Run, TaskType

# Windows and tokens of a batch: a GPU that gets no more than a CPU stands still for most of the time. Not measured.
TOGETHER_ON_GPU = (128, 16384)


class TorchRun:
    """A torch network as numpy sees it.

    Args:
        network: in evaluation mode, on its device.
        task_type: asks it.
        half: whether to compute in bfloat16 what stands it.
    """

    def __init__(self, network: Any, task_type: TaskType, *, half: bool = False) -> None:
        self.network = network
        self.task_type = task_type
        self.half = half
        self.most_together = TOGETHER_ON_GPU if network.device.type == "cuda" else None
        self.lock = threading.Lock()  # one call uses all cores; two at once would be in each other's way

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """Raw outputs of a padded batch."""
        import torch

        device = self.network.device
        tensors = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
        with self.lock, torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            outputs: NDArray[np.float32] = self.task_type.forward(self.network, tensors).float().cpu().numpy()
        return outputs


class TorchEngine(Engine):
    """Builds nothing: it reads the weights in the model directory."""

    reads_weights = True
    packages = ("safetensors", "tokenizers", "torch", "transformers")

    def __init__(self, name: str, tolerance: float, drift: float, *, half: bool) -> None:
        self.name, self.tolerance, self.drift, self.half = name, tolerance, drift, half

    def is_useful(self) -> bool:
        """bfloat16 pays on a GPU; on a CPU OpenVINO does the same in a quarter of the time."""
        import torch

        return not self.half or torch.cuda.is_available()

    def build(self, source: Source, folder: Path) -> None:
        """Nothing to write."""

    def open(self, folder: Path, model: Path, threads: int) -> Run:  # noqa: ARG002 - it built nothing
        return load_network(model, threads, half=self.half)


def load_network(model: Path, threads: int, *, half: bool = False) -> TorchRun:
    """The network of a model directory, on a GPU where there is one."""
    import torch

    torch.set_num_threads(threads)
    manifest = read_manifest(model)
    task_type = find_task_type(manifest.task_type)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = task_type.load_network(model, manifest.spec).to(device).eval()
    return TorchRun(network, task_type, half=half)


ENGINES: tuple[Engine, ...] = (
    TorchEngine("torch", tolerance=1e-4, drift=1e-4, half=False),
    TorchEngine("torch-bf16", tolerance=0.03, drift=0.06, half=True),
)
