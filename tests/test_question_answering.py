from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.config import Training
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import Manifest
from components.training.golden_rows import CLEAR
from components.training.tokenization import load_tokenizer
from service.schemas.question_answering import SPEECH, FoundAnswer
from tests.questions import CONTEXTS, QUESTIONS, TYPE, spec


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path):
    from components.models.base_models import resolve_base_model

    return load_tokenizer(resolve_base_model(str(tiny_base), tiny_base.parent))


@pytest.fixture(scope="module")
def predictor(tiny_base: Path, tokenizer) -> Predictor:
    import torch

    own = spec()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = TYPE.build_network(tiny_base, own).eval()
        network.qa_outputs.weight.data *= 30  # so that answers differ clearly
    manifest = Manifest(
        name="qa",
        task_type=TYPE.name,
        labels=(),
        max_length=own.max_length,
        window_overlap=own.window_overlap,
        settings=own.settings,
        fitted={"no_answer_threshold": -1.0, "temperature": 1.5},
        base_model="tiny",
        base_model_digest="b",
        data_digest="d",
        train_rows=1,
        code_digest="c",
        validation_metrics={},
    )
    return Predictor.of_network(network, tokenizer, manifest)


def label(*answers: tuple[str, int]) -> str:
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    return json.dumps({"answer_start": starts, "text": texts}, ensure_ascii=False)


ROWS = [
    {"question": question, "context": context}
    for question in QUESTIONS
    for context in (
        "card",
        "",
        " \u3000",
        "酒店很好😀，房间 bad。",
        "ＡＢＣ１２ the card\u200b 👩‍👩‍👧 was stolen",
        "money card bank " * 60,
        "𠮷" * 90,
    )
]


def test_an_answer_is_the_part_of_the_context_at_its_offsets(predictor: Predictor):
    for row, answer in zip(ROWS, predictor.predict(ROWS), strict=True):
        shown = TYPE.present(answer, 5)
        FoundAnswer.model_validate(shown, strict=True)
        assert len(shown["candidates"]) <= 5
        for item in [shown, *shown["candidates"]]:
            text = item.get("answer", item.get("text"))
            if item["start"] is None:
                assert (text, item["end"]) == ("", None)
            else:
                assert row["context"][item["start"] : item["end"]] == text
                assert text == text.strip() != ""
        total = answer["no_answer_score"] + sum(candidate["score"] for candidate in answer["candidates"])
        assert total == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(QUESTIONS), CONTEXTS), min_size=2, max_size=6), st.randoms())
def test_a_row_gets_the_same_answer_alone_in_any_company_and_in_any_order(predictor: Predictor, pairs, random_order):
    rows = [{"question": question, "context": context} for question, context in pairs]
    together = predictor.predict(rows)
    order = random_order.sample(range(len(rows)), len(rows))
    shuffled = predictor.predict([rows[place] for place in order])
    for place, answer in enumerate(together):
        for other in (predictor.predict([rows[place]])[0], shuffled[order.index(place)]):
            assert abs(other["no_answer_score"] - answer["no_answer_score"]) <= TOLERANCE
            if TYPE.margin(answer) > CLEAR:
                assert other["answer"] == answer["answer"]
                assert (other["start"], other["end"]) == (answer["start"], answer["end"])
                assert abs(other["score"] - answer["score"]) <= TOLERANCE


def test_a_context_of_a_hundred_thousand_characters_is_read_to_its_end(predictor: Predictor):
    words = random.Random(0).choices(["card", "money", "酒店", "bank", "😀"], k=30_000)
    context = " ".join(words)[:99_990] + " zzz 9 back"
    row = {"question": "where?", "context": context}
    windows = TYPE.encode(predictor.tokenizer, [row], predictor.spec)
    assert max(end for window in windows.features for end in window["end"]) == len(context)
    outputs = [np.zeros((len(window["place"]), 2), np.float32) for window in windows.features]
    outputs[-1][-2] = 9  # the last token of the context
    answer = TYPE.answers([row], TYPE.combine([row], windows, outputs, predictor.spec), predictor.spec)[0]
    assert context[answer["start"] :] == answer["answer"] == "back"


def outputs_of(predictor: Predictor, rows):
    windows = TYPE.encode(predictor.tokenizer, rows, predictor.spec)
    return TYPE.combine(rows, windows, predictor.outputs_of(windows.features), predictor.spec)


def test_the_fitted_threshold_is_the_best_for_f1_and_the_temperature_bounded(predictor: Predictor):
    rows = [{**row, "label": label()} for row in ROWS if row["context"].strip()]
    rows[::2] = [{**row, "label": label((row["context"][:4], 0))} for row in rows[::2]]
    outputs = outputs_of(predictor, rows)
    fitted = TYPE.fit(rows, outputs, predictor.spec)

    def f1(threshold: float) -> float:
        own = spec(fitted={**fitted, "no_answer_threshold": threshold})
        return TYPE.metrics([row["label"] for row in rows], TYPE.answers(rows, outputs, own), own)["f1"]

    tried = [lead + move for lead in (found.null_lead for found in outputs) for move in (-0.01, 0.01)]
    assert f1(fitted["no_answer_threshold"]) == pytest.approx(max(map(f1, tried)))
    assert 0.05 <= fitted["temperature"] <= 20


def test_where_every_validation_row_has_an_answer_no_question_is_left_unanswered(predictor: Predictor):
    rows = [{**row, "label": label((row["context"][:4], 0))} for row in ROWS if row["context"].strip()]
    outputs = outputs_of(predictor, rows)
    fitted = TYPE.fit(rows, outputs, predictor.spec)
    assert fitted["no_answer_threshold"] is None
    own = spec(fitted=json.loads(json.dumps(fitted)))
    said = [TYPE.said(answer) for answer in TYPE.answers(rows, outputs, own)]
    assert all(said)
    blank = [{"question": "who?", "context": " "}]
    assert TYPE.said(TYPE.answers(blank, outputs_of(predictor, blank), own)[0]) == ""


def test_an_unanswered_question_has_the_score_of_no_answer(predictor: Predictor):
    outputs = outputs_of(predictor, ROWS)
    own = spec(fitted={"no_answer_threshold": -1e9})
    for answer in TYPE.answers(ROWS, outputs, own):
        assert (answer["answer"], answer["start"], answer["end"]) == ("", None, None)
        assert answer["score"] == answer["no_answer_score"]


def test_quality_is_f1_and_metrics_have_what_the_gate_asks_for(predictor: Predictor):
    rows = [{"question": "who?", "context": "the two cats", "label": label(("two cats", 4))}]
    answers = predictor.predict(rows)
    truths, said = [row["label"] for row in rows], [TYPE.said(answer) for answer in answers]
    metrics = TYPE.metrics(truths, answers, predictor.spec)
    assert set(TYPE.metric_names) <= set(metrics)
    assert TYPE.quality(truths, said).mean() == metrics["f1"]
    for name in TYPE.metric_names:
        assert TYPE.statistic(name, truths, said)(np.ones((1, 1)))[0] == pytest.approx(metrics[name])


def test_wrong_settings_are_refused():
    for task in ({"max_query_length": 0}, {"n_best": 0}, {"language": "zh"}):
        with pytest.raises(ValidationError):
            spec(**task)


def test_the_endpoint_asks_for_a_question_and_its_context():
    from components.config import Serving
    from service.requests import request_reader

    reader = request_reader(SPEECH, Serving(), TYPE.texts, TYPE.many)
    row = {"question": "who?", "context": "the cat"}
    for body in (row, {"questions": [row]}):
        assert reader.read(json.dumps(body).encode(), Serving()).rows == (row,)


def test_a_training_ends_with_a_model_that_evaluation_and_golden_rows_agree_with(tiny_base: Path, tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.config import Evaluation, RunConfig
    from components.models.base_models import resolve_base_model
    from components.models.golden import check_model
    from components.models.model_directory import read_manifest
    from components.records import ValidatedDataset
    from components.reports.evaluation import evaluate_model
    from components.training.fine_tuning import train_model
    from components.training.tokenization import tokenize_dataset

    draw = random.Random(1)
    words = ["card", "money", "bank", "pin", "phone"]
    contexts = [" ".join(draw.choices(words, k=draw.randint(3, 60))) for _ in range(80)]
    rows = [
        {
            "row_id": str(number),
            "question": "where is my pin?",
            "context": context,
            "label": label(*[("pin", context.find("pin"))] * ("pin" in context)),
        }
        for number, context in enumerate(contexts)
    ]
    for split, part in (("train", rows[:56]), ("validation", rows[56:])):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"{split}.parquet")
    content = {
        "name": "qa",
        "task_type": TYPE.name,
        "data": {"train": "x"},
        "model": {"base": str(tiny_base), "max_length": 32},
        "training": {"epochs": 1, "batch_size": 16, "device": "cpu"},
        "evaluation": {"metric": "f1", "bootstrap_samples": 100},
    }
    config, base = RunConfig.model_validate(content), resolve_base_model(str(tiny_base), tmp_path)
    dataset = ValidatedDataset(tmp_path, "d", {"train": 56, "validation": 24}, (), 0, {}, ())
    tokens = tokenize_dataset(config, dataset, base, tmp_path / "tokens")
    model = train_model(config, tokens, base, dataset, tmp_path / "training")
    assert tokens.windows["train"] > tokens.rows["train"]
    assert set(read_manifest(model.folder).fitted) == {"no_answer_threshold", "temperature"}
    assert check_model(Predictor.load(model.folder), model.folder) <= TOLERANCE
    (tmp_path / "report").mkdir()
    settings = Evaluation(metric="f1", bootstrap_samples=100)
    report = evaluate_model(model.folder, tmp_path / "validation.parquet", settings, tmp_path / "report")
    assert report.metrics["f1"] == pytest.approx(model.validation_metrics["f1"])
    # Questions on one passage are no independent evidence.
    assert json.loads((tmp_path / "report" / "report.json").read_text())["documents"] == "context"


def test_padding_takes_no_part_in_the_loss():
    """Layers that compute no padding leave zeros there; HF's own loss would let them compete for the answer."""
    import torch
    from torch.nn.functional import cross_entropy

    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 7, 2, generator=generator)
    targets = torch.tensor([[1, 3], [0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]])
    for smoothing in (0.0, 0.1):
        training = Training(label_smoothing=smoothing)
        whole = TYPE.without_padding(outputs, {"attention_mask": mask})
        found = TYPE.loss(None, whole, targets, training, None)
        expected = cross_entropy(outputs[:, :4], targets, label_smoothing=smoothing)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
