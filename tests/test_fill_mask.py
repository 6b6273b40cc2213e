from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.config import Evaluation, RunConfig, Serving
from components.errors import DataError
from components.masks.mask_guessing import logits_at
from components.masks.mask_windows import GUESSED, window_masks, word_pieces
from components.models.base_models import resolve_base_model
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import Manifest, verify_model
from components.reports.evaluation import evaluate_model
from components.task_types import Spec, find_task_type
from components.training.fine_tuning import train_model
from components.training.tokenization import tokenize_dataset
from service.problems import Problem
from service.requests import request_reader
from service.schemas import find_speech
from tests.training_data import rows_of, write_dataset

TYPE = find_task_type("fill_mask")


@pytest.fixture(scope="module")
def predictor(tiny_base: Path) -> Predictor:
    from transformers import AutoTokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = TYPE.build_network(tiny_base, Spec((), 32, 8))
    manifest = Manifest(
        name="fill",
        task_type="fill_mask",
        labels=(),
        max_length=32,
        window_overlap=8,
        settings={"scored_tokens": 6},
        base_model="tiny",
        base_model_digest="b",
        data_digest="d",
        train_rows=0,
        code_digest="c",
        validation_metrics={},
    )
    return Predictor.of_network(
        network.eval(), AutoTokenizer.from_pretrained(tiny_base, local_files_only=True), manifest
    )


def answer_of(predictor: Predictor, text: str, **options):
    return predictor.predict([{"text": text, **options}])[0]


def reference(predictor: Predictor, text: str) -> torch.Tensor:
    """Log-probabilities at the masks of a short text, by the whole network."""
    inputs = predictor.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        logits = predictor.run.network(**inputs).logits[0]
    return logits[inputs["input_ids"][0] == predictor.tokenizer.mask_token_id].log_softmax(-1)


def test_every_mask_gets_the_tokens_that_the_network_holds_for_likely(predictor: Predictor):
    text = "the [MASK] was [MASK] today"
    expected = reference(predictor, text).exp()
    answer = answer_of(predictor, text)
    assert [mask["position"] for mask in answer["masks"]] == [4, 15]
    special = predictor.tokenizer.all_special_ids
    for mask, scores in zip(answer["masks"], expected, strict=True):
        scores[special] = 0
        best = int(scores.argmax())
        assert mask["top"][0]["score"] == pytest.approx(float(scores[best]), abs=1e-6)
        assert mask["top"][0]["token"] == predictor.tokenizer.convert_ids_to_tokens(best)
        assert len(mask["top"]) <= 100


def test_positions_count_characters_of_the_text_as_it_was_sent(predictor: Predictor):
    text = "很好👍 [MASK]店  Ｆｕｌｌ[MASK]"
    assert [mask["position"] for mask in answer_of(predictor, text)["masks"]] == [4, len(text) - 6]


def test_the_best_tokens_are_written_into_the_text(predictor: Predictor):
    answer = answer_of(predictor, "Hello [MASK] World [MASK].")
    one, two = (mask["top"][0]["token"] for mask in answer["masks"])
    expected = "Hello" + ("" if one.startswith("##") else " ") + one.removeprefix("##") + " World"
    expected += ("" if two.startswith("##") else " ") + two.removeprefix("##") + "."
    assert answer["filled"] == expected


def test_words_are_scored_in_every_mask(predictor: Predictor):
    text, network = "a [MASK] [MASK] day", predictor.tokenizer
    scores = reference(predictor, text).exp()
    (one, two) = answer_of(predictor, text, targets=["good", "qz", "☃"])["masks"]
    good = network.convert_tokens_to_ids("good")
    assert [mask["targets"][0]["score"] for mask in (one, two)] == pytest.approx(scores[:, good].tolist(), abs=1e-6)
    q, z = word_pieces(network, "qz")
    assert one["targets"][1]["score"] == pytest.approx(float(scores[0, q] * scores[1, z]), abs=1e-6)
    assert two["targets"][1]["score"] is None  # two pieces, and only one mask left
    assert one["targets"][2] == {"word": "☃", "score": None}


def test_words_that_are_asked_for_change_nothing_else(predictor: Predictor):
    text = "a [MASK] day"
    plain, asked = answer_of(predictor, text), answer_of(predictor, text, targets=["good"] * 50 + ["terrible"])
    assert asked["masks"][0]["top"][:5] == [
        {"token": item["token"], "score": pytest.approx(item["score"], abs=1e-6)}
        for item in plain["masks"][0]["top"][:5]
    ]


def test_a_text_without_masks_is_scored_token_by_token(predictor: Predictor):
    ids = predictor.tokenizer("the room was bad")["input_ids"]
    total = 0.0
    for place in range(1, len(ids) - 1):
        hidden = torch.tensor([[*ids[:place], predictor.tokenizer.mask_token_id, *ids[place + 1 :]]])
        with torch.inference_mode():
            total += float(predictor.run.network(hidden).logits[0, place].log_softmax(-1)[ids[place]])
    answer = answer_of(predictor, "the room was bad")
    assert answer["tokens"] == 4
    assert answer["log_likelihood"] == pytest.approx(total, abs=1e-4)
    shown = TYPE.present(answer, 3)
    assert shown == {
        "masks": [],
        "filled": "the room was bad",
        "log_likelihood": round(answer["log_likelihood"] / 4, 6),
    }


def test_a_blank_text_has_nothing_to_score(predictor: Predictor):
    assert TYPE.present(answer_of(predictor, " "), 3)["log_likelihood"] is None
    with pytest.raises(DataError):
        TYPE.metrics([""], [answer_of(predictor, "")], predictor.spec)


def test_long_texts_are_read_in_windows_and_each_token_is_guessed_once(predictor: Predictor):
    text = "good bad " * 40 + "[MASK] " + "card " * 40 + "[MASK]"
    assert [mask["position"] for mask in answer_of(predictor, text)["masks"]] == [360, 367 + 200]
    long = "the good room was very bad and " * 20
    assert answer_of(predictor, long)["tokens"] == 6
    windows = window_masks(predictor.tokenizer, [{"text": long}], 32, 8, 500)
    assert len(windows.features) > 3
    assert sum(window["attention_mask"].count(GUESSED) for window in windows.features) == 7 * 20
    whole = predictor.tokenizer(long, verbose=False)["input_ids"][1:-1]
    step = 32 - 2 - 8
    for place, window in enumerate(windows.features):
        assert window["input_ids"][1:-1] == whole[place * step : place * step + len(window["input_ids"]) - 2]


texts = st.lists(
    st.sampled_from(["the", "[MASK]", "room", "很好", "👍", "unknownword", "\u3000", "e\u0301", "[SEP]", "x" * 30]),
    max_size=70,
).map(" ".join)
rows_of_all_kinds = st.lists(
    st.fixed_dictionaries({"text": texts}, optional={"targets": st.just(["good", "hotel room", "很好"])}),
    min_size=1,
    max_size=6,
)


def numbers_of(answer) -> list[float]:
    masks = [[item["score"] for item in mask["top"][:10]] for mask in answer["masks"]]
    words = [item["score"] or 0.0 for mask in answer["masks"] for item in mask["targets"]]
    return [*np.ravel(masks), *words, answer["log_likelihood"] / max(answer["tokens"], 1)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_all_kinds, seed=st.integers(0, 9))
def test_the_same_text_gets_the_same_answer_alone_and_in_any_company(predictor: Predictor, rows, seed: int):
    together = predictor.predict(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    for place, answer in zip(order, predictor.predict([rows[place] for place in order]), strict=True):
        alone = predictor.predict([rows[place]])[0]
        assert len(alone["masks"]) == rows[place]["text"].count("[MASK]")
        for mask in alone["masks"]:
            assert rows[place]["text"][mask["position"] :].startswith("[MASK]")
        for other in (answer, together[place]):
            assert numbers_of(other) == pytest.approx(numbers_of(alone), abs=TOLERANCE)


def test_a_mask_may_be_written_as_bert_writes_it_whatever_the_tokenizer_calls_it(predictor: Predictor, tmp_path: Path):
    from transformers import AutoTokenizer

    predictor.tokenizer.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = tmp_path / name
        path.write_text(path.read_text(encoding="utf-8").replace("[MASK]", "<mask>"), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert tokenizer.mask_token == "<mask>"
    other = Predictor.of_network(predictor.run.network, tokenizer, predictor.manifest)
    for text in ("a [MASK] day, <mask>", "a <mask> day, [MASK]"):
        assert [mask["position"] for mask in answer_of(other, text)["masks"]] == [2, 14]


CONFIGS = ("Bert", "Roberta", "DistilBert", "Electra", "Albert", "ModernBert", "MPNet", "DebertaV2")


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_head_sees_the_masked_places_only_in_every_architecture(kind: str):
    import transformers

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, num_hidden_layers=1, pad_token_id=0)
    if kind == "DistilBert":
        config = transformers.DistilBertConfig(vocab_size=50, dim=16, n_heads=2, n_layers=1, hidden_dim=16)
    network = getattr(transformers, f"{kind}ForMaskedLM")(config).eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    places = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0]], dtype=torch.bool)
    with torch.inference_mode():
        numbers = places.flatten().nonzero()[:, 0]
        assert torch.allclose(logits_at(network, inputs, numbers), network(**inputs).logits[places], atol=1e-6)
    assert not network.base_model._forward_hooks


def test_a_model_learns_from_plain_texts_and_is_scored(tiny_base: Path, tmp_path: Path):
    content = {
        "name": "fill",
        "task_type": "fill_mask",
        "task": {"scored_tokens": 4},
        "data": {"train": "made.jsonl"},
        "model": {"base": str(tiny_base), "max_length": 24},
        "evaluation": {"metric": "top1_accuracy"},
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu", "precision": "fp32"},
    }
    config, base = RunConfig.model_validate(content), resolve_base_model(str(tiny_base), tmp_path)
    splits = {
        split: [{"row_id": row["row_id"], "text": row["text"]} for row in rows_of(count, seed)]
        for split, count, seed in (("train", 96, 1), ("validation", 30, 2), ("test", 30, 3))
    }
    splits["test"].append({"row_id": "made.csv:99", "text": "a [MASK] day"})
    splits["test"].append({"row_id": "made.csv:100", "text": " "})
    dataset = write_dataset(tmp_path / "data", splits, ())
    tokens = tokenize_dataset(config, dataset, base, tmp_path / "tokens")
    model = train_model(config, tokens, base, dataset, tmp_path / "training")
    verify_model(model.folder)
    history = [json.loads(line)["metrics"] for line in model.history.read_text().splitlines()]
    losses = [line["validation_loss"] for line in history if "validation_loss" in line]
    assert losses[-1] < losses[0] < math.log(300) + 1
    assert check_model(Predictor.load(model.folder), model.folder) <= TOLERANCE
    (tmp_path / "evaluation").mkdir()
    settings = Evaluation(metric="top1_accuracy")
    report = evaluate_model(model.folder, dataset.split_file("test"), settings, tmp_path / "evaluation")
    assert report.metrics["pseudo_perplexity"] == pytest.approx(math.exp(-report.metrics["mean_log_likelihood"]))
    assert 0 < report.metrics["top1_accuracy"] <= report.metrics["top5_accuracy"] <= 1
    low, high = report.intervals["top1_accuracy"]
    assert low <= report.metrics["top1_accuracy"] <= high
    assert train_model(config, tokens, base, dataset, tmp_path / "again").digest == model.digest


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_the_statistic_is_the_metric_of_the_drawn_rows(counted):
    rows = [{"tokens": n + a + b, "top1": a, "top5": a + b, "log_likelihood": -1.0 * n} for n, a, b in counted]
    said = [TYPE.said(row) for row in rows]
    draw = np.random.default_rng(0)
    weights = draw.integers(0, 3, (7, len(rows))).astype(np.float64)
    for metric in TYPE.metric_names:
        values = TYPE.statistic(metric, [""] * len(rows), said)(weights)
        for value, weight in zip(values, weights, strict=True):
            drawn = [row for row, times in zip(rows, weight, strict=True) for _ in range(int(times))]
            if sum(row["tokens"] for row in drawn):
                assert value == pytest.approx(TYPE.metrics([], drawn, None)[metric])


def test_requests_may_ask_for_words():
    reader = request_reader(find_speech("fill_mask"), Serving(), ["text"], TYPE.many)
    body = {"text": "a [MASK]", "targets": ["day", "很好"]}
    assert dict(reader.read(json.dumps(body).encode(), Serving()).rows[0]) == body
    for wrong in ([], [""], "day", ["a" * 101], ["day"] * 101):
        with pytest.raises(Problem):
            reader.read(json.dumps({"text": "a", "targets": wrong}).encode(), Serving())
