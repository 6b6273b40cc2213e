"""The demo uses nothing of other work, and what it prints can be typed in any shell."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo.py"


def test_the_demo_leaves_the_servers_of_other_work_alone(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo", demo)  # dataclasses look there
    spec.loader.exec_module(demo)
    seen: list[set[str]] = []

    def prepare() -> None:
        seen.append({name for name in demo.SERVERS if name in os.environ})
        raise InterruptedError

    monkeypatch.setattr(demo, "collect_rarely", lambda: None)
    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setenv("REBERT_HOME", "here")
    for name in demo.SERVERS:
        monkeypatch.setenv(name, "http://somebody.else:5000")
    with pytest.raises(InterruptedError):
        demo.main()
    assert seen == [set()]
    said = demo.in_any_shell(demo.SERVERS)
    assert said.startswith("env -u MLFLOW_TRACKING_URI -u PREFECT_API_URL REBERT_HOME=here ")
    assert demo.in_any_shell(()).startswith("REBERT_HOME=here ")
