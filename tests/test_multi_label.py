"""The task type multi_label: cells of files, scores against scikit-learn, thresholds, and a model that is trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from components.config import Evaluation, RunConfig, Training
from components.models.base_models import resolve_base_model
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import read_manifest
from components.reports.evaluation import evaluate_model
from components.reports.statistics import bootstrap_scores
from components.sequences.multi_label_metrics import (
    fit_thresholds,
    flags,
    label_statistic,
    multi_label_metrics,
    per_label,
)
from components.task_types import Fault, Spec, Windows, find_task_type
from components.task_types.base import json_text
from components.training.fine_tuning import train_model
from components.training.tokenization import tokenize_dataset
from service.schemas import find_speech
from tests.training_data import LABELS, WORDS, write_dataset

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


@st.composite
def compared(draw):
    """Which labels apply, which are given, and scores, with empty rows and labels that never occur."""
    rows, labels = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    actual = generator.random((rows, labels)) < density
    said = np.where(generator.random((rows, labels)) < 0.5, actual, generator.random((rows, labels)) < density)
    return actual, said, generator.integers(0, 5, (rows, labels)) / 4  # with ties


@settings(max_examples=600, deadline=None)
@given(compared())
def test_metrics_are_those_of_scikit_learn(case):
    actual, said, scores = case
    found = multi_label_metrics(actual, said, scores)
    occurring = np.flatnonzero((actual | said).any(axis=0))
    of_labels = [reference.f1_score(actual[:, k], said[:, k]) for k in occurring]
    micro = reference.f1_score(actual.ravel(), said.ravel(), zero_division=1.0)
    precisions = [reference.average_precision_score(actual[:, k], scores[:, k]) for k in np.flatnonzero(actual.any(0))]
    assert found["micro_f1"] == pytest.approx(micro)
    assert found["macro_f1"] == pytest.approx(np.mean(of_labels) if of_labels else 1.0)
    assert found["subset_accuracy"] == pytest.approx((actual == said).all(axis=1).mean())
    assert found["hamming_loss"] == pytest.approx(np.mean(actual != said))
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions) if precisions else 0.0)
    assert found["log_loss"] == pytest.approx(reference.log_loss(actual.ravel(), scores.ravel(), labels=[False, True]))


@settings(max_examples=200, deadline=None)
@given(compared())
def test_the_table_of_labels_is_scikit_learns(case):
    actual, said, scores = case
    names = [f"label {k}" for k in range(actual.shape[1])]
    table = per_label(actual, said, scores, names, np.full(len(names), 0.5))
    for k, line in enumerate(table):
        expected = reference.precision_recall_fscore_support(
            actual[:, k], said[:, k], pos_label=True, zero_division=0, labels=[True]
        )
        assert [line[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
            [part[0] for part in expected]
        )


def as_labels(part: np.ndarray) -> list[str]:
    return [json_text([f"label {k}" for k in np.flatnonzero(row)]) for row in part]


@settings(max_examples=200, deadline=None)
@given(compared(), st.integers(0, 2**32 - 1))
def test_a_statistic_is_the_metric_of_the_drawn_rows(case, seed: int):
    actual, said, scores = case
    drawn = np.random.default_rng(seed).integers(0, len(actual), (3, len(actual)))
    weights = np.array([np.bincount(rows, minlength=len(actual)) for rows in drawn], float)
    for metric in TYPE.metric_names:
        found = TYPE.statistic(metric, as_labels(actual), as_labels(said))(weights)
        expected = [multi_label_metrics(actual[rows], said[rows], scores[rows])[metric] for rows in drawn]
        assert found == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(compared())
def test_a_row_is_right_if_all_its_labels_are_and_else_as_good_as_they_overlap(case):
    actual, said, _ = case
    quality = TYPE.quality(as_labels(actual), as_labels(said))
    assert ((quality == 1) == (actual == said).all(axis=1)).all()
    twice = [np.hstack([part, part]) for part in (actual, said)]  # scikit-learn wants at least two labels
    overlapping = reference.jaccard_score(*twice, average="samples", zero_division=1.0)
    assert quality.mean() == pytest.approx(overlapping)


def test_ten_thousand_resamplings_of_thousands_of_rows_take_seconds():
    generator = np.random.default_rng(0)
    actual, said = generator.random((2, 2000, 28)) < 0.05
    statistic = label_statistic("macro_f1", as_labels(actual), as_labels(said))
    assert bootstrap_scores([statistic], 2000, 2000, seed=0).shape == (1, 2000)


def best_f1(actual: np.ndarray, scores: np.ndarray) -> float:
    return max(reference.f1_score(actual, scores >= t / 100, zero_division=0) for t in range(1, 100))


@pytest.mark.parametrize("seed", range(5))
def test_a_label_with_many_positives_gets_a_threshold_as_good_as_the_best(seed: int):
    generator = np.random.default_rng(seed)
    actual = generator.random((4000, 3)) < [0.5, 0.2, 0.1]
    scores = 1 / (1 + np.exp(-generator.normal(np.where(actual, 0.5, [-0.5, -1.5, -3.0]), 1)))
    for k, threshold in enumerate(fit_thresholds(actual, scores)):
        assert reference.f1_score(actual[:, k], scores[:, k] >= threshold) > best_f1(actual[:, k], scores[:, k]) - 0.005


def test_a_label_with_few_positives_keeps_near_the_common_threshold():
    generator = np.random.default_rng(0)
    actual = np.zeros((2000, 4), bool)
    actual[:, :2] = generator.random((2000, 2)) < 0.3
    actual[7, 2] = True
    scores = np.where(actual, 0.7, 0.3) + generator.normal(0, 0.1, actual.shape)
    scores[7, 2] = 0.95  # alone it would ask for a threshold near 0.8
    common, _, rare, never = fit_thresholds(actual, scores.clip(0, 1))
    assert abs(rare - common) < 0.15
    assert abs(never - common) < 0.15


def test_without_any_positive_thresholds_stay_at_a_half():
    assert fit_thresholds(np.zeros((9, 2), bool), np.full((9, 2), 0.2)).tolist() == [0.5, 0.5]


def test_equally_good_thresholds_give_the_middle_one():
    actual = np.array([[True], [False]] * 50)
    assert fit_thresholds(actual, np.where(actual, 0.9, 0.1)).tolist() == [0.5]


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


def test_an_answer_is_what_the_endpoint_promises():
    shown = TYPE.present(answer_of([2.0, -1.0, 0.5]), 2)
    assert find_speech("multi_label").prediction.model_validate(shown).model_dump() == shown


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
    dataset = write_dataset(folder / "data", splits, LABELS)
    chosen = {"epochs": 7, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu", "class_weights": "balanced"}
    content = {
        "name": "topics",
        "task_type": "multi_label",
        "data": {"train": "made.jsonl"},
        "model": {"base": str(tiny_base), "max_length": 24},
        "training": chosen,
        "evaluation": {"metric": "micro_f1"},
    }
    config = RunConfig.model_validate(content)
    base = resolve_base_model(str(tiny_base), folder)
    tokens = tokenize_dataset(config, dataset, base, folder / "tokens")
    train_model(config, tokens, base, dataset, folder / "training")
    (folder / "evaluation").mkdir()
    evaluate_model(
        folder / "training" / "model",
        folder / "data" / "test.parquet",
        Evaluation(metric="micro_f1", bootstrap_samples=100),
        folder / "evaluation",
    )
    return folder


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    return Predictor.load(trained / "training" / "model")


@pytest.fixture(scope="module")
def texts() -> list[dict[str, str]]:
    odd = ("", "酒店很好", "card " * 300, "\u200b", "a" * 400)
    return [{"text": row["text"]} for row in topic_rows(60, 4)] + [{"text": text} for text in odd]


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


def test_a_row_gets_the_same_answer_alone_and_in_any_order(predictor: Predictor, texts):
    together = scores(predictor, texts)
    alone = np.concatenate([scores(predictor, [row]) for row in texts])
    order = random.Random(5).sample(range(len(texts)), len(texts))
    shuffled = scores(predictor, [texts[place] for place in order])
    assert np.abs(together - alone).max() <= TOLERANCE
    assert np.abs(together[order] - shuffled).max() <= TOLERANCE


def test_a_long_text_is_read_to_its_end(predictor: Predictor):
    filler = "it is so " * 40
    assert scores(predictor, [{"text": filler + "card bank " * 40}])[0, 0] > scores(predictor, [{"text": filler}])[0, 0]


def test_flags_leave_out_labels_that_are_not_asked_for():
    assert flags([["b"], ["z", "a"]], ["a", "b"]).tolist() == [[False, True], [True, False]]
