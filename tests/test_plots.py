"""Pictures: readable for two labels and for 77, for Chinese ones, and where no font can write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.reports import plot_style, plots

PNG = b"\x89PNG\r\n\x1a\n"


def report_of(labels: list[str], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    confusion = rng.poisson(0.3, (len(labels), len(labels))) + np.diag(rng.integers(5, 40, len(labels)))
    return {
        "labels": labels,
        "confusion": confusion.tolist(),
        "per_class": [
            {"label": label, "precision": 0.9, "recall": 0.9, "f1": float(rng.random()), "support": int(row.sum())}
            for label, row in zip(labels, confusion, strict=True)
        ],
        "reliability": [
            {"confidence": 0.55, "accuracy": 0.5, "rows": 9},
            {"confidence": 0.9, "accuracy": 1, "rows": 90},
        ],
        "metrics": {"expected_calibration_error": 0.04},
    }


@pytest.mark.parametrize(
    "labels",
    [
        ["negative", "positive"],
        ["差评", "好评", "中评：一般般，没有什么特别"],
        [f"intent_number_{n}" for n in range(77)],
    ],
    ids=["two", "chinese", "many"],
)
def test_an_evaluation_is_drawn(labels: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(report_of(labels)), encoding="utf-8")
    drawn = plots.draw_evaluation(report, tmp_path / "pictures")
    assert [path.name for path in drawn] == ["confusion.png", "reliability.png", "f1_by_label.png"]
    assert all(path.read_bytes().startswith(PNG) and path.stat().st_size > 8000 for path in drawn)


def test_numbers_are_drawn(tmp_path: Path) -> None:
    report = {"metrics": {}, "pairs": [{"truth": n / 7, "said": n / 8} for n in range(30)]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    [drawn] = plots.draw_evaluation(tmp_path / "report.json", tmp_path)
    assert drawn.name == "numbers.png"
    assert drawn.read_bytes().startswith(PNG)


def test_a_training_is_drawn(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    lines = [{"step": s, "epoch": s / 10, "time": s, "metrics": {"train_loss": 1 / (s + 1)}} for s in range(30)]
    lines += [
        {"step": 10 * e, "epoch": e, "time": e, "metrics": {"validation_loss": 1 / e, "validation_macro_f1": e / 4}}
        for e in (1, 2, 3)
    ]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = plots.draw_training(history, "macro_f1", 2.0, tmp_path / "training.png")
    assert drawn.read_bytes().startswith(PNG)


def test_labels_that_no_font_can_write_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot_style, "_fonts", lambda: ["DejaVu Sans"])
    assert plot_style.shown_names(["good", "好评"]) == ["good", "label 2"]
    monkeypatch.setattr(plot_style, "_fonts", lambda: ["DejaVu Sans", "Noto Sans CJK SC"])
    assert plot_style.shown_names(["好评", "x" * 99]) == ["好评", "x" * 33 + "…"]
