"""The model card: what the hub's tools read from it, and what a person does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from components.config import RunConfig
from components.records import EvaluationReport, TrainedModel, ValidatedDataset
from components.reports.model_card import write_model_card
from tests.model_folders import LABELS

CONFIG = RunConfig.model_validate(
    {"name": "shop", "description": "顾客在问什么。", "data": {"train": "train.csv"}, "model": {"base": "tiny"}}
)


@pytest.fixture
def report(tmp_path: Path) -> EvaluationReport:
    content = {
        "per_class": [
            {"label": label, "precision": 0.9, "recall": 0.8, "f1": 0.7 + place / 10, "support": 50}
            for place, label in enumerate(LABELS)
        ],
        "mistakes": [
            {
                "row_id": f"test.csv:{n}",
                "text": f"text {n}\n" + "很" * 200,
                "label": "good",
                "predicted": "bad",
                "score": 0.99,
            }
            for n in range(9)
        ],
        "slices": [
            {"column": "channel", "value": "a|b", "rows": 80, "score": 0.9, "judged": True},
            {"column": "channel", "value": "phone", "rows": 3, "score": 1.0, "judged": False},
        ],
    }
    (tmp_path / "report.json").write_text(json.dumps(content))
    metrics = {"accuracy": 0.91234, "macro_f1": 0.88, "expected_calibration_error": 0.02}
    return EvaluationReport(
        tmp_path,
        "e" * 64,
        "m" * 64,
        "t" * 64,
        "text_classification",
        150,
        "accuracy",
        metrics,
        {"accuracy": (0.85, 0.95)},
    )


@pytest.fixture
def card(tiny_model: Path, report: EvaluationReport, tmp_path: Path) -> str:
    dataset = ValidatedDataset(
        tmp_path, "d" * 64, {"train": 1000, "validation": 100, "test": 150}, LABELS, 7, {"train.csv": "a" * 64}, ()
    )
    model = TrainedModel(tiny_model, "m" * 64, tmp_path / "h", "cpu", "fp32", 2.0, 61.2, 480.0, {})
    return write_model_card(CONFIG, dataset, model, report)


def test_the_hub_reads_the_scores(card: str) -> None:
    data = ModelCard(card).data
    assert data.license == "unknown"
    assert data.language is None
    assert data.pipeline_tag == "text-classification"
    found = {result.metric_name: (result.metric_type, result.metric_value) for result in data.eval_results}
    assert found == {"accuracy": ("accuracy", 0.9123), "macro F1": ("f1", 0.88)}


def test_a_person_reads_what_it_is_and_where_it_ends(card: str) -> None:
    for part in (
        "顾客在问什么。",
        "`很好`",
        "| **accuracy** | 0.9123 | 0.8500 to 0.9500 |",
        "| channel | `a\\|b` | 0.9000 | 80 |",
        "3 (too few to judge)",
        f"| text 4 {'很' * 72}… | good | bad | 0.99 |",
        "7 rows were set aside",
        "at most 3, the weights of epoch 2 kept",
        "nothing else was examined for bias",
        'load_model("models:/shop@champion")',
    ):
        assert part in card
    assert "text 5" not in card


def test_a_model_without_slices_has_no_section_for_them(
    report: EvaluationReport, tiny_model: Path, tmp_path: Path
) -> None:
    content = json.loads((report.folder / "report.json").read_text()) | {"slices": []}
    (report.folder / "report.json").write_text(json.dumps(content))
    dataset = ValidatedDataset(tmp_path, "d", {"train": 1}, LABELS, 0, {}, ())
    model = TrainedModel(tiny_model, "m", tmp_path / "h", "cpu", "fp32", 1.0, 1.0, 1.0, {})
    text = write_model_card(CONFIG, dataset, model, replace(report, intervals={}), license_id="apache-2.0")
    assert "## Scores by slice" not in text
    assert "license: apache-2.0" in text
