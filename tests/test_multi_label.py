"""The task type multi_label: cells of files, scores against scikit-learn, thresholds, and a model that is trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from components.config import Evaluation, Training
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import read_manifest
from components.reports.evaluation import evaluate_model
from components.sequences.multi_label_metrics import (
    flags,
)
from components.task_types import Fault, Spec, Windows, find_task_type
from components.task_types.base import json_text
from tests.training_data import LABELS, WORDS, train_small

TYPE = find_task_type("multi_label")
SPEC = Spec(("a", "b", "c"), 64, 16)


def label_of(cell: str | None) -> list[str]:
    return json.loads(TYPE.read({"text": "x", "labels": cell}, {})["label"])


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ('["joy", "anger"]', ["anger", "joy"]),
        ("[]", []),
        (" [ ] ", []),
        ("joy", ["joy"]),
        ("joy|anger", ["anger", "joy"]),
        ("joy ; anger", ["anger", "joy"]),
        ("高兴；生气", ["生气", "高兴"]),
        ('["Wash, dry", 7, true]', ["7", "Wash, dry", "true"]),
    ],
)
def test_labels_are_read_from_lists_and_from_cells(cell: str, labels: list[str]):
    assert label_of(cell) == labels


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "there is no list"),
        ("", "there is no list"),
        ("joy,anger", "comma"),
        ("joy||anger", "blank label"),
        ('["joy", "joy"]', "'joy' stands there twice"),
        ('["joy", null]', "other than labels"),
        ('["joy", ["anger"]]', "other than labels"),
        ("[NaN]", "other than labels"),
        ('["joy"', "no JSON list"),
        ('{"joy": 1}', "no JSON list"),
        ("[" * 100_000, "no JSON list"),
    ],
)
def test_a_cell_that_holds_no_labels_is_a_fault(cell: str | None, reason: str):
    fault = TYPE.read({"text": "x", "labels": cell}, {})
    assert isinstance(fault, Fault)
    assert fault.check in TYPE.faults
    assert reason in fault.reason


def test_a_row_keeps_both_texts_of_a_pair():
    row = TYPE.read({"text": "x", "text_pair": "y", "labels": "[]"}, {})
    assert row == {"text": "x", "text_pair": "y", "label": "[]"}


def test_scores_are_calibrated_before_thresholds_are_fitted():
    generator = np.random.default_rng(3)
    logits = generator.normal(-1, 2, (3000, 3))
    actual = generator.random((3000, 3)) < 1 / (1 + np.exp(-logits))
    rows = [{"label": json_text([SPEC.labels[k] for k in np.flatnonzero(row)])} for row in actual]
    fitted = TYPE.fit(rows, 3 * logits, SPEC)  # three times too sure
    assert fitted["temperature"] == pytest.approx(3, rel=0.1)
    assert set(fitted["thresholds"]) == set(SPEC.labels)


def answer_of(logits: list[float], **fitted):
    return TYPE.answers([{}], np.array([logits]), Spec(SPEC.labels, 64, 16, {}, fitted))[0]


def test_each_label_is_decided_by_its_own_threshold():
    answer = answer_of([0.0, 0.0, -9.0], thresholds={"a": 0.6, "b": 0.4, "c": 0.5})
    assert answer["labels"] == ["b"]
    assert TYPE.said(answer) == '["b"]'
    assert TYPE.margin(answer) == pytest.approx(0.1)
    assert TYPE.confidence(answer) == pytest.approx(0.5)


def test_no_label_is_an_answer():
    answer = answer_of([-5.0, -5.0, -5.0])
    assert TYPE.said(answer) == "[]"
    assert TYPE.present(answer, 1) == {"labels": [], "score": 0.993307, "top": [{"label": "a", "score": 0.006693}]}


def test_a_label_that_the_model_does_not_know_counts_as_missed():
    answer = answer_of([5.0, -5.0, -5.0], thresholds={})
    spec = Spec(SPEC.labels, 64, 16, {}, {"thresholds": {}})
    found = TYPE.metrics(['["a", "new"]'], [answer], spec)
    assert found["micro_f1"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(0.5)
    assert found["log_loss"] > 1
    details = TYPE.details(['["a", "new"]'], [answer], spec)
    assert [line["label"] for line in details["per_class"]] == ["a", "b", "c", "new"]


def test_while_nothing_is_fitted_thresholds_suit_the_rows():
    answers = [answer_of([-1.0, -9.0, -9.0]), answer_of([-3.0, -9.0, -9.0])]
    assert TYPE.metrics(['["a"]', "[]"], answers, SPEC)["micro_f1"] == 1.0


def test_targets_are_a_number_for_each_label_and_window():
    rows = [{"label": '["a", "c"]'}, {"label": "[]"}, {"label": '["new"]'}]
    assert TYPE.targets(rows, Windows([], [0, 0, 1, 2]), SPEC) == [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_balanced_weights_are_negatives_to_positives_up_to_a_cap():
    targets = np.zeros((100, 3))
    targets[:50, 0] = targets[:20, 1] = targets[0, 2] = 1
    assert TYPE.weights(targets.ravel(), SPEC).tolist() == [1, 4, 10]


def test_a_new_head_says_of_any_text_how_frequent_each_label_is(tiny_base: Path):
    import torch

    targets = np.repeat([[1, 0, 1], [0, 0, 1]], 50, axis=0).astype(np.float32)
    started = TYPE.start(targets.ravel(), SPEC)
    assert started == {"shares": [0.5, 0.0, 1.0]}
    network = TYPE.build_network(tiny_base, Spec(SPEC.labels, 64, 16, {}, started))
    assert torch.sigmoid(network.classifier.bias).tolist() == pytest.approx([0.5, 1e-4, 1 - 1e-4], rel=1e-3)


def test_the_loss_is_binary_cross_entropy():
    import torch

    logits, targets = torch.tensor([[2.0, -1.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    expected = reference.log_loss([1, 0, 1], logits.sigmoid().numpy()[0])
    assert float(TYPE.loss(None, logits, targets, Training(), None)) == pytest.approx(expected, rel=1e-5)


# --- a model that is trained on words of topics ---


def topic_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows about none, one or several of three topics, and some longer than the model reads at once."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        topics = [topic for topic in LABELS if draw.random() < 0.4]
        words = [draw.choice(["i", "the", "it", "very", "so"]) for _ in range(draw.choice([2, 4, 6, 40]))]
        words += [draw.choice(WORDS[topic][:4]) for topic in topics for _ in range(len(words) // 2)]
        draw.shuffle(words)
        label = json_text(sorted(topics))
        rows.append({"row_id": f"made.jsonl:{number + 1}", "text": " ".join(words), "label": label})
    return rows


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training: `data`, `training` and `evaluation`."""
    folder = tmp_path_factory.mktemp("multi-label")
    splits = {"train": topic_rows(240, 1), "validation": topic_rows(60, 2), "test": topic_rows(60, 3)}
    chosen = {"epochs": 14, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu", "class_weights": "balanced"}
    metric = {"metric": "micro_f1"}
    model = train_small(folder, tiny_base, splits, LABELS, task_type="multi_label", training=chosen, evaluation=metric)
    (folder / "evaluation").mkdir()
    settings = Evaluation(metric="micro_f1", bootstrap_samples=100)
    evaluate_model(model, folder / "data" / "test.parquet", settings, folder / "evaluation")
    return folder


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    return Predictor.load(trained / "training" / "model")


def scores(predictor: Predictor, rows) -> np.ndarray:
    return np.array([answer["scores"] for answer in predictor.predict(rows)])


def test_training_learns_and_the_report_holds_a_line_for_each_label(trained: Path):
    report = json.loads((trained / "evaluation" / "report.json").read_text())
    assert report["metrics"]["micro_f1"] > 0.72  # all labels for all rows have 0.6
    assert report["metrics"]["mean_average_precision"] > 0.7
    low, high = report["intervals"]["micro_f1"]
    assert low <= report["metrics"]["micro_f1"] <= high
    assert [line["label"] for line in report["per_class"]] == list(LABELS)


def test_the_manifest_holds_a_threshold_for_each_label(trained: Path):
    fitted = read_manifest(trained / "training" / "model").fitted
    assert set(fitted) == {"temperature", "thresholds"}
    assert set(fitted["thresholds"]) == set(LABELS)
    assert all(0 < threshold < 1 for threshold in fitted["thresholds"].values())


def test_golden_rows_hold(trained: Path, predictor: Predictor):
    assert check_model(predictor, trained / "training" / "model") <= TOLERANCE


def test_a_long_text_is_read_to_its_end(predictor: Predictor):
    filler = "it is so " * 40
    assert scores(predictor, [{"text": filler + "card bank " * 40}])[0, 0] > scores(predictor, [{"text": filler}])[0, 0]


def test_flags_leave_out_labels_that_are_not_asked_for():
    assert flags([["b"], ["z", "a"]], ["a", "b"]).tolist() == [[False, True], [True, False]]
