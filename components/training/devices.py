"""Where and in which numbers a model is trained: the fastest way that the hardware really has, with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from components.config import Training
from components.errors import TrainingError

CPU_INFO = Path("/proc/cpuinfo")
# Set by the kernel where a program may use CUDA; torch, a second to import, is asked only where one of them is there.
CUDA_SIGNS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/proc/driver/nvidia"))


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The device, the numbers of its matrix products, the CPU threads, and why."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp16"]
    threads: int
    reason: str


def choose_device(training: Training) -> DeviceChoice:
    """What `training.device` and `training.precision` mean on this machine.

    Raises:
        TrainingError: the run file asks for something that this machine has not.
    """
    has_cuda = training.device != "cpu" and cuda_is_there()
    if training.device == "cuda" and not has_cuda:
        raise TrainingError(
            "training.device is cuda, but torch finds no CUDA device on this machine.",
            "set training.device to auto or cpu, or run on a machine with a GPU and a CUDA build of torch.",
        )
    return _on_cuda(training) if has_cuda else _on_cpu(training)


def cuda_is_there() -> bool:
    """Whether torch can use a CUDA device; does not import torch where there is no driver."""
    if os.name == "posix" and not any(path.exists() for path in CUDA_SIGNS):
        return False
    import torch

    return torch.cuda.is_available()


def cpu_flags() -> frozenset[str]:
    """The instruction sets of this processor, as Linux names them; empty elsewhere."""
    return frozenset(_cpu_fact("flags", "Features").split())


def cpu_name() -> str:
    """The processor's name, as Linux has it; empty elsewhere."""
    return _cpu_fact("model name")


@cache
def _cpu_fact(*names: str) -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(names)), ":").partition(":")[2].strip()


def usable_threads() -> int:
    """Cores that this process may run on: what the scheduler allows, less what a container's quota forbids."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        limit = int(quota) / int(period)
    except (OSError, ValueError):  # no cgroup, or "max": no quota
        return cores
    return max(1, min(cores, round(limit)))


def _on_cpu(training: Training) -> DeviceChoice:
    fast = sorted({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())
    threads = usable_threads()
    asked = training.precision
    if asked == "fp16":
        raise TrainingError(
            "training.precision is fp16, which trains only on a CUDA device.", "set training.precision to auto."
        )
    if asked == "bf16" and not fast:
        raise TrainingError(
            "training.precision is bf16, but this processor has no bf16 instructions.",
            "set training.precision to auto or fp32; bf16 would be slower here.",
        )
    if asked == "fp32" or not fast:
        why = "as the run file asks" if asked == "fp32" else "this processor has no bf16 instructions"
        return DeviceChoice("cpu", "fp32", threads, f"CPU with {threads} threads in fp32: {why}.")
    return DeviceChoice("cpu", "bf16", threads, f"CPU with {threads} threads in bf16: it has {', '.join(fast)}.")


def _on_cuda(training: Training) -> DeviceChoice:
    import torch

    name, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    asked = training.precision
    if asked == "bf16" and major < 8:
        raise TrainingError(
            f"training.precision is bf16, but {name} (compute capability {major}.{minor}) has none.",
            "set training.precision to auto, which takes fp16 here.",
        )
    threads = usable_threads()
    if asked != "auto":
        return DeviceChoice("cuda", asked, threads, f"{name} in {asked}: as the run file asks.")
    if major >= 8:
        return DeviceChoice("cuda", "bf16", threads, f"{name} in bf16: its compute capability is {major}.{minor}.")
    return DeviceChoice("cuda", "fp16", threads, f"{name} in fp16: its compute capability {major}.{minor} has no bf16.")
