from __future__ import annotations

import pytest

from components.config import Training
from components.errors import TrainingError
from components.training import devices
from components.training.devices import choose_device


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "cuda_is_there", lambda: False)


def with_flags(monkeypatch: pytest.MonkeyPatch, *flags: str):
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_bf16_is_taken_where_the_processor_really_has_it(monkeypatch, flag):
    with_flags(monkeypatch, "avx2", flag)
    choice = choose_device(Training())
    assert (choice.device, choice.precision) == ("cpu", "bf16")
    assert flag in choice.reason
    assert choice.threads >= 1


def test_fp32_is_taken_where_bf16_would_be_emulated(monkeypatch):
    with_flags(monkeypatch, "avx2", "avx512f")
    assert choose_device(Training()).precision == "fp32"
    with pytest.raises(TrainingError, match="no bf16 instructions"):
        choose_device(Training(precision="bf16"))


def test_the_run_file_may_ask_for_fp32(monkeypatch):
    with_flags(monkeypatch, "amx_bf16")
    assert choose_device(Training(precision="fp32")).precision == "fp32"


def test_what_this_machine_has_not_is_refused_with_a_remedy():
    with pytest.raises(TrainingError, match="no CUDA device") as caught:
        choose_device(Training(device="cuda"))
    assert "auto" in caught.value.hint
    with pytest.raises(TrainingError, match="only on a CUDA device"):
        choose_device(Training(precision="fp16", device="cpu"))


@pytest.mark.parametrize(
    ("capability", "asked", "precision"),
    [((9, 0), "auto", "bf16"), ((7, 5), "auto", "fp16"), ((8, 0), "fp32", "fp32"), ((9, 0), "fp16", "fp16")],
)
def test_a_gpu_gets_the_precision_of_its_generation(monkeypatch, capability, asked, precision):
    import torch

    monkeypatch.setattr(devices, "cuda_is_there", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    choice = choose_device(Training(precision=asked))
    assert (choice.device, choice.precision) == ("cuda", precision)


def test_an_old_gpu_has_no_bf16(monkeypatch):
    import torch

    monkeypatch.setattr(devices, "cuda_is_there", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(TrainingError, match=r"7\.5"):
        choose_device(Training(precision="bf16"))


def test_the_cpu_is_chosen_without_importing_torch():
    import subprocess
    import sys

    code = (
        "from components.config import Training; from components.training.devices import choose_device; import sys;"
        "choose_device(Training(device='cpu')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
