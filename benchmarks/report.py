"""What every benchmark prints and writes: a table, and JSON with the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Table:
    """Rows under a header, as text."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append(tuple(str(cell) for cell in cells))

    def markdown(self) -> str:
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in self.rows)]) + "\n"

    def show(self) -> None:
        widths = [max(len(row[i]) for row in (self.header, *self.rows)) for i in range(len(self.header))]
        print(f"\n{self.title}")
        for row in (self.header, *self.rows):
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def machine() -> dict[str, Any]:
    """The processor, its cores and instruction sets that matter here, the GPU if any, and the libraries."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return {
        "processor": name or platform.processor(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in wanted if f" {flag} " in info.replace("\n", " ")],
        "gpu": _gpu(),
        "python": platform.python_version(),
        "libraries": {name: found for name in ("torch", "transformers", "datasets") if (found := _version(name))},
    }


def _gpu() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_result(name: str, content: dict[str, Any], tables: list[Table]) -> Path:
    """Write `results/<name>.json`, from which docs/benchmarks.md is made."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    arguments = [re.sub(r"(^|=)/.*/", r"\1", word) for word in sys.argv[1:]]  # where things lie here helps nobody
    ran = {"arguments": arguments, "date": when}
    full = {"benchmark": name, **ran, **content, "tables": [table.markdown() for table in tables]}
    path.write_text(json.dumps(full, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    print(f"\nwritten to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
