from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from components.config import Evaluation, RunConfig, Serving
from components.errors import BaseModelError, DataError
from components.models.base_models import resolve_base_model
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import Manifest, read_manifest, verify_model
from components.prompts.label_prompts import default_template, question_of
from components.prompts.prompt_network import entailment_columns
from components.prompts.prompt_scores import fit_logistic
from components.reports.evaluation import evaluate_model
from components.reports.plots import draw_training
from components.task_types import Spec, Windows, find_task_type
from components.training.fine_tuning import train_model
from components.training.tokenization import tokenize_dataset
from service.application import Application
from service.problems import Problem
from service.requests import request_reader
from service.schemas import find_speech
from tests.bundles import build_source, tiny_config
from tests.model_folders import build_model
from tests.training_data import LABELS, small_dataset

TYPE = find_task_type("zero_shot")
TEXTS = ["my card was stolen", "the room was bad", "酒店很好", "a great movie 👍", "", "the " * 150 + "end"]


@pytest.fixture(scope="module")
def entailment_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pair classifier with random weights and the labels of NLI."""
    import torch
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("nli")
    spec = Spec(("contradiction", "entailment", "neutral"), 64, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        find_task_type("text_classification").build_network(tiny_base, spec).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base, local_files_only=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["nli", "embeddings"])
def predictor(request, tiny_base: Path, entailment_base: Path) -> Predictor:
    from transformers import AutoTokenizer

    base = entailment_base if request.param == "nli" else tiny_base
    chosen = TYPE.settle(TYPE.settings().model_dump(mode="json"), base)
    assert chosen["source"] == request.param
    spec = Spec(LABELS, 48, 12, chosen)
    manifest = Manifest(
        name="zero",
        task_type="zero_shot",
        labels=LABELS,
        max_length=48,
        window_overlap=12,
        settings=chosen,
        base_model="tiny",
        base_model_digest="b",
        data_digest="d",
        train_rows=0,
        code_digest="c",
        validation_metrics={},
    )
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    return Predictor.of_network(TYPE.build_network(base, spec).eval(), tokenizer, manifest)


def scores_of(answer) -> dict[str, float]:
    return dict(zip(answer["labels"], answer["scores"], strict=True))


rows_of_all_kinds = st.lists(
    st.fixed_dictionaries(
        {"text": st.sampled_from(TEXTS) | st.text(max_size=60)},
        optional={
            "labels": st.lists(st.sampled_from(["card", "hotel", "钱", "very long " * 20]), min_size=1, max_size=4),
            "multi_label": st.booleans(),
            "template": st.sampled_from(["It is {}.", "这是{}"]),
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_all_kinds, seed=st.integers(0, 9))
def test_the_same_text_gets_the_same_answer_alone_and_in_any_company(predictor: Predictor, rows, seed: int):
    together = predictor.predict(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = predictor.predict([rows[place] for place in order])
    for place, answer in zip(order, shuffled, strict=True):
        alone = scores_of(predictor.predict([rows[place]])[0])
        for other in (scores_of(answer), scores_of(together[place])):
            assert other.keys() == alone.keys()
            assert max(abs(other[label] - alone[label]) for label in alone) <= TOLERANCE


def test_labels_come_from_the_request_or_else_from_the_model(predictor: Predictor):
    asked, default = predictor.predict([{"text": "hello", "labels": ["bank", "money"]}, {"text": "hello"}])
    assert set(asked["labels"]) == {"bank", "money"}
    assert tuple(default["labels"]) == LABELS
    assert sum(asked["scores"]) == pytest.approx(1)


def test_a_label_that_is_named_twice_counts_once(predictor: Predictor):
    once, twice = predictor.predict(
        [{"text": "hello", "labels": ["bank", "money"]}, {"text": "hello", "labels": ["bank", "money", "bank"]}]
    )
    assert scores_of(twice) == pytest.approx(scores_of(once), abs=TOLERANCE)


def test_the_order_of_the_labels_changes_nothing(predictor: Predictor):
    one, other = predictor.predict([{"text": "hello", "labels": labels} for labels in (["a", "b"], ["b", "a"])])
    assert scores_of(other) == pytest.approx(scores_of(one), abs=TOLERANCE)


def test_with_multi_label_each_label_is_judged_by_itself(predictor: Predictor):
    few = {"text": "hello", "labels": ["bank"], "multi_label": True}
    one, three = predictor.predict([few, {**few, "labels": ["bank", "money", "hotel"]}])
    assert scores_of(three)["bank"] == pytest.approx(scores_of(one)["bank"], abs=TOLERANCE)
    assert 0 < one["score"] < 1


def test_a_single_label_is_certain_without_multi_label(predictor: Predictor):
    (answer,) = predictor.predict([{"text": "hello", "labels": ["bank"]}])
    assert TYPE.present(answer, 3) == {"label": "bank", "score": 1.0, "top": [{"label": "bank", "score": 1.0}]}
    assert TYPE.margin(answer) == 1.0


def test_all_of_a_long_text_is_read(predictor: Predictor):
    row = {"text": "the " * 200 + "card", "labels": ["card", "hotel"]}
    other = {**row, "text": "the " * 200 + "hotel"}
    one, two = predictor.predict([row, other])
    assert scores_of(one) != scores_of(two)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"labels": []}, "no label"),
        ({"labels": ["card", " "]}, "blank"),
        ({"template": "about it"}, "exactly one {}"),
        ({"template": "{} and {}"}, "exactly one {}"),
    ],
)
def test_a_question_that_cannot_be_asked_is_a_clear_error(predictor: Predictor, options, problem: str):
    with pytest.raises(DataError, match=problem):
        predictor.predict([{"text": "hello", **options}])


def test_the_template_is_in_the_language_of_the_labels():
    assert default_template(["card", "money"]) == "This text is about {}."
    assert default_template(["体育", "财经"]) == "这段文字是关于{}的。"
    question = question_of({"text": "x"}, Spec(("NUM", "my_card"), 64, 16, {"names": {"NUM": "a {number}"}}))
    assert question.prompts == ("This text is about a {number}.", "This text is about my card.")


def test_an_entailment_model_is_known_by_its_labels():
    assert entailment_columns({0: "CONTRADICTION", 1: "neutral", 2: "Entailment"}) == (2, 0)
    assert entailment_columns({"0": "蕴含", "1": "中立", "2": "矛盾"}) == (0, 2)
    assert entailment_columns({0: "not_entailment", 1: "entailment"}) == (1, 0)
    assert entailment_columns({0: "LABEL_0", 1: "LABEL_1"}) is None


def test_an_encoder_cannot_be_asked_by_entailment(tiny_base: Path):
    with pytest.raises(BaseModelError, match="entailment"):
        TYPE.settle({"source": "nli"}, tiny_base)


@pytest.mark.parametrize("predictor", ["nli"], indirect=True)
def test_scores_of_entailment_are_those_of_the_pipeline(entailment_base: Path, predictor: Predictor):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(entailment_base, local_files_only=True)
    network = AutoModelForSequenceClassification.from_pretrained(entailment_base, local_files_only=True)
    theirs = pipeline("zero-shot-classification", model=network, tokenizer=tokenizer, device="cpu")
    labels = ["card", "hotel", "movie"]
    for several in (False, True):
        expected = theirs(
            "my card was stolen", labels, hypothesis_template="This text is about {}.", multi_label=several
        )
        (ours,) = predictor.predict([{"text": "my card was stolen", "labels": labels, "multi_label": several}])
        assert scores_of(ours) == pytest.approx(
            dict(zip(expected["labels"], expected["scores"], strict=True)), abs=TOLERANCE
        )


@pytest.mark.parametrize("predictor", ["embeddings"], indirect=True)
def test_scores_of_embeddings_are_scaled_cosines(predictor: Predictor):
    import torch

    def embed(text: str):
        with torch.inference_mode():
            inputs = predictor.tokenizer(text, return_tensors="pt")
            return predictor.run.network(**inputs).last_hidden_state[0].mean(dim=0)

    text, *prompts = (embed(x) for x in ("the room", "This text is about card.", "This text is about hotel."))
    logits = torch.stack([20 * torch.cosine_similarity(text, prompt, dim=0) for prompt in prompts])
    (answer,) = predictor.predict([{"text": "the room", "labels": ["card", "hotel"]}])
    assert answer["scores"] == pytest.approx(logits.softmax(0).tolist(), abs=TOLERANCE)


def test_slope_and_offset_are_those_of_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    evidence = draw.normal(15, 2, (200, 5))
    truth = draw.random((200, 5)) < 1 / (1 + np.exp(-(0.8 * evidence - 13)))
    slope, offset = fit_logistic(evidence, truth)
    theirs = LogisticRegression(C=np.inf).fit(evidence.reshape(-1, 1), truth.ravel())
    assert (slope, offset) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=0.01)


def test_evidence_that_misleads_turns_no_order_around():
    draw = np.random.default_rng(1)
    evidence = draw.normal(0, 2, (200, 5))
    truth = draw.random((200, 5)) < 1 / (1 + np.exp(2 * evidence))
    slope, offset = fit_logistic(evidence, truth)
    assert slope > 0
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(truth.mean(), abs=0.01)


@pytest.mark.parametrize("source", ["nli", "embeddings"])
def test_a_run_without_training_ends_in_a_whole_model(
    source: str, tiny_base: Path, entailment_base: Path, tmp_path: Path
):
    base = entailment_base if source == "nli" else tiny_base
    content = {
        "name": "zero",
        "task_type": "zero_shot",
        "data": {"train": "made.csv"},
        "model": {"base": str(base), "max_length": 48},
        "training": {"device": "cpu", "precision": "fp32"},
    }
    config = RunConfig.model_validate(content)
    dataset, found = small_dataset(tmp_path / "data"), resolve_base_model(str(base), tmp_path)
    tokens = tokenize_dataset(config, dataset, found, tmp_path / "tokens")
    assert set(tokens.rows) == {"validation"}
    heard = []
    model = train_model(config, tokens, found, dataset, tmp_path / "training", heard.append)
    assert model.best_epoch == model.samples_per_second == 0
    assert heard == []  # no steps are taken
    verify_model(model.folder)
    manifest = read_manifest(model.folder)
    assert manifest.settings["source"] == source
    assert set(manifest.fitted) == {"temperature", "slope", "offset"}
    assert check_model(Predictor.load(model.folder), model.folder) <= TOLERANCE
    (line,) = [json.loads(line) for line in model.history.read_text().splitlines()]
    assert line["metrics"]["validation_accuracy"] == model.validation_metrics["accuracy"]
    draw_training(model.history, "accuracy", model.best_epoch, tmp_path / "training.png")
    (tmp_path / "evaluation").mkdir()
    report = evaluate_model(model.folder, dataset.split_file("test"), Evaluation(), tmp_path / "evaluation")
    low, high = report.intervals["accuracy"]
    assert low <= report.metrics["accuracy"] <= high


def test_a_row_is_long_if_its_text_is_and_not_for_its_labels(predictor: Predictor):
    rows = [{"text": text} for text in ("card", "the " * 150, "room")]
    windows = TYPE.encode(predictor.tokenizer, rows, predictor.spec)
    assert len(windows.features) > 5
    assert windows.long_rows() == 1
    assert TYPE.encode(predictor.tokenizer, rows[:1], predictor.spec).long_rows() == 0


@pytest.mark.parametrize(("source", "cost"), [("nli", 4 * (3 * 150 + 14)), ("embeddings", 4 * 150 + 300 + 14)])
def test_labels_cost_as_much_as_they_are_read(source: str, cost: int):
    rows = [{"text": "a" * 50, "labels": ["card", "refund", "fees"], "template": "{}"}] * 4
    assert TYPE.cost(rows, Spec(LABELS, 48, 12, {"source": source})) == cost


def test_a_request_that_asks_too_much_is_refused_before_it_is_read(tiny_base: Path, tmp_path: Path):
    folder = build_model(tmp_path / "model", tiny_base, task_type="zero_shot")
    source = build_source(tmp_path, folder, tiny_config(max_texts=2, max_characters=1000))
    with TestClient(Application(source)) as client:
        labels = [f"{number} {'x' * 150}" for number in range(100)]
        fits = client.post("/predict", json={"text": "card", "labels": labels[:2]})
        refused = client.post("/predict", json={"text": "card", "labels": labels, "template": "y" * 490 + "{}"})
        wrong = client.post("/predict", json={"text": "card", "template": "about a card"})
    assert fits.status_code == 200
    assert refused.status_code == 422
    assert "fewer labels" in refused.json()["error"]["hint"]
    assert wrong.json()["error"]["problem"] == (
        "'template' must hold {} once, where the label stands, and no other brace."
    )


def test_requests_name_labels_template_and_multi_label():
    reader = request_reader(find_speech("zero_shot"), Serving(), ["text"], TYPE.many)
    body = {"text": "hello", "labels": ["a", "b"], "multi_label": True, "template": "It is {}."}
    assert dict(reader.read(json.dumps(body).encode(), Serving()).rows[0]) == body
    for wrong in ({"labels": []}, {"labels": [" "]}, {"labels": "a"}, {"template": "none"}, {"multi_label": 1}):
        with pytest.raises(Problem):
            reader.read(json.dumps({"text": "hello", **wrong}).encode(), Serving())


def test_prompts_are_read_once_and_texts_every_time(predictor: Predictor, monkeypatch):
    read: list[int] = []
    run = predictor.run

    def counting(inputs):
        read.append(len(inputs["input_ids"]))
        return run(inputs)

    monkeypatch.setattr(predictor, "run", counting)
    monkeypatch.setattr(predictor, "kept", {})
    first = predictor.predict([{"text": "a good film"}])
    once = sum(read)
    again = predictor.predict([{"text": "a good film"}])
    by_embeddings = predictor.spec.settings["source"] == "embeddings"
    assert sum(read) - once == (1 if by_embeddings else once)
    assert len(predictor.kept) == (len(predictor.spec.labels) if by_embeddings else 0)
    assert again[0]["scores"] == pytest.approx(first[0]["scores"], abs=TOLERANCE)


def test_prompts_that_are_cut_are_counted_by_rows(predictor: Predictor):
    rows = [
        {"text": "my card was stolen", "labels": ["card", "hotel " * 100]},
        {"text": "the room was bad", "labels": ["card", "hotel"]},
        {"text": "the " * 150, "labels": ["card", "hotel"]},
    ]
    windows = predictor.encode(rows)
    assert (windows.cut, windows.long_rows()) == (1, 1)


@pytest.mark.parametrize("predictor", ["nli"], indirect=True)
def test_labels_that_are_judged_one_by_one_are_calibrated_with_entailment_too(predictor: Predictor):
    draw = np.random.default_rng(4)
    gaps = draw.normal(0, 3, (300, 3))
    outputs = np.stack([gaps, np.zeros_like(gaps)], axis=-1)  # three times too sure of themselves
    right = draw.random(300) < 1 / (1 + np.exp(-gaps[:, 0] / 3))
    rows = [{"text": "a", "label": LABELS[0] if own else ""} for own in right]
    found = TYPE.fit(rows, list(outputs), predictor.spec)
    assert found["slope"] < 0.6
    spec = dataclasses.replace(predictor.spec, fitted=found)
    (answer,) = TYPE.answers([{"text": "a", "multi_label": True}], [np.array([[3.0, 1.0], [0, 0], [0, 0]])], spec)
    assert answer["scores"][0] == pytest.approx(1 / (1 + np.exp(-(found["slope"] * 2 + found["offset"]))))


def test_windows_count_by_their_tokens():
    from components.prompts.label_prompts import Question
    from components.prompts.prompt_scores import entailment_evidence

    features = [{"input_ids": [1] * length, "prompt": [1] * length} for length in (30, 10)]
    question = Question(("card",), ("about card",), False)
    outputs = [np.array(own, np.float32) for own in ([4, 0], [0, 4])]
    (evidence,) = entailment_evidence([question], Windows(features, [0, 0]), outputs)
    assert evidence.tolist() == [[3, 1]]
