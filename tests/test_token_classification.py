from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import Evaluation, RunConfig
from components.entities.tags import as_label, tag_names
from components.models.base_models import resolve_base_model
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.records import ValidatedDataset
from components.reports.evaluation import evaluate_model
from components.task_types import find_task_type
from components.training.fine_tuning import train_model
from components.training.tokenization import tokenize_dataset

TYPE = find_task_type("token_classification")
LABELS = ("LOC", "PER")
NAMES = {"PER": ["anna", "bob smith", "李好"], "LOC": ["paris", "new york", "酒店"]}
FILLERS = (
    "i",
    "the",
    "my",
    "is",
    "was",
    "it",
    "very",
    "please",
    "how",
    "this",
    "in",
    "to",
    "and",
    "的",
    "很好",
    "👍",
    ",",
    ".",
)


def made_rows(count: int, seed: int, longest: int = 12) -> list[dict[str, str]]:
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        text, spans = "", []
        for _ in range(draw.randint(2, longest)):
            label = draw.choice(["PER", "LOC", *[""] * 4])
            word = draw.choice(NAMES[label] if label else FILLERS)
            spans += [(len(text), len(text) + len(word), label)] if label else []
            text += word + " "
        rows.append({"row_id": f"made.jsonl:{number + 1}", "text": text, "label": as_label(spans)})
    return rows


@pytest.fixture(scope="module", params=["argmax", "crf"])
def trained(request, tiny_base: Path, tmp_path_factory) -> tuple[Path, Path]:
    """A model that learned the made rows in windows of 24 tokens, and its test file."""
    folder = tmp_path_factory.mktemp(request.param)
    splits = {"train": made_rows(160, 1, 30), "validation": made_rows(30, 2, 30), "test": made_rows(60, 3, 30)}
    (folder / "data").mkdir()
    for split, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{split}.parquet")
    dataset = ValidatedDataset(folder / "data", "d", {s: len(rows) for s, rows in splits.items()}, LABELS, 0, {}, ())
    config = RunConfig.model_validate(
        {
            "name": "names",
            "task_type": "token_classification",
            "task": {"decoder": request.param},
            "data": {"train": "made.jsonl"},
            "model": {"base": str(tiny_base), "max_length": 24},
            "training": {"epochs": 5, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu", "precision": "fp32"},
            "evaluation": {"metric": "f1"},
        }
    )
    base = resolve_base_model(str(tiny_base), folder)
    tokens = tokenize_dataset(config, dataset, base, folder / "tokens")
    assert tokens.windows["train"] > tokens.rows["train"]
    return train_model(config, tokens, base, dataset, folder / "training").folder, folder / "data" / "test.parquet"


@pytest.fixture(scope="module")
def predictor(trained) -> Predictor:
    return Predictor.load(trained[0])


def test_a_tiny_model_learns_and_is_evaluated(trained, tmp_path: Path):
    model, test_file = trained
    report = evaluate_model(model, test_file, Evaluation(metric="f1", bootstrap_samples=100), tmp_path)
    assert report.metrics["f1"] > 0.8
    assert set(report.intervals) == set(TYPE.metric_names)
    written = json.loads((tmp_path / "report.json").read_text())
    assert [line["label"] for line in written["per_class"]] == list(LABELS)
    assert check_model(Predictor.load(model), model) <= TOLERANCE


def test_offsets_point_into_the_text_as_it_was_sent(predictor: Predictor):
    text = "👩‍👩‍👧 \u3000的 李好 IS in\tＮｅｗ new york，anna\u200b!"
    shown = TYPE.present(predictor.predict([{"text": text}])[0], 3)
    assert shown["entities"]
    for entity in shown["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert 0 <= entity["score"] <= 1
    assert "new york" in [entity["text"] for entity in shown["entities"]]
    assert "李好" in [entity["text"] for entity in shown["entities"]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["anna", "李好", "酒店", "new york"]) | st.text(max_size=5), max_size=20))
def test_entities_of_any_text_are_in_order_and_say_what_they_point_at(predictor: Predictor, parts):
    text = " ".join(parts)
    entities = predictor.predict([{"text": text}])[0]["entities"]
    assert [entity["text"] for entity in entities] == [text[entity["start"] : entity["end"]] for entity in entities]
    borders = [border for entity in entities for border in (entity["start"], entity["end"])]
    assert borders == sorted(borders)
    assert all(entity["text"] == entity["text"].strip() != "" for entity in entities)


def flat(answers: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    entities = [[e["start"], e["end"], e["text"], e["label"]] for answer in answers for e in answer["entities"]]
    scores = [e["score"] for answer in answers for e in answer["entities"]] + [answer["score"] for answer in answers]
    return entities, np.array(scores)


def test_a_text_gets_the_same_answer_alone_in_a_batch_and_in_any_order(predictor: Predictor):
    odd = ["", " ", "!!!", "\u200b", "a" * 300, "anna " * 100, "李好的酒店" * 30, "e\u0301 anna"]
    rows = [{"text": row["text"]} for row in made_rows(70, 9)] + [{"text": text} for text in odd]
    together = predictor.predict(rows)
    clear = [place for place, answer in enumerate(together) if TYPE.margin(answer) > 20 * TOLERANCE]
    assert len(clear) > 60
    alone = [predictor.predict([rows[place]])[0] for place in clear]
    order = random.Random(1).sample(clear, len(clear))
    shuffled = dict(zip(order, predictor.predict([rows[place] for place in order]), strict=True))
    for other in (alone, [shuffled[place] for place in clear]):
        entities, scores = flat([together[place] for place in clear])
        other_entities, other_scores = flat(other)
        assert entities == other_entities
        assert np.abs(scores - other_scores).max() <= TOLERANCE


def test_a_hundred_thousand_characters_are_read_to_the_end(predictor: Predictor):
    text = ("the movie is very , " * 5300)[: 100_000 - 10] + ", new york"
    entities = predictor.predict([{"text": text}])[0]["entities"]
    assert entities[-1]["text"] == "new york"
    assert entities[-1]["end"] == len(text)


def test_the_crf_travels_with_the_weights(predictor: Predictor, trained):
    if predictor.spec.settings["decoder"] == "argmax":
        assert not hasattr(predictor.run.network, "crf")
        return
    moves = predictor.run.network.crf.moves().detach().numpy()
    assert np.abs(moves[moves > -1000]).max() > 0.1  # it has learned
    names = tag_names(LABELS)
    assert moves[names.index("O"), names.index("I-PER")] < -1000


def test_no_rows_have_no_answers(predictor: Predictor):
    assert predictor.predict([]) == []


def test_the_answer_has_the_documented_shape(predictor: Predictor):
    from service.schemas.token_classification import Entities

    shown = TYPE.present(predictor.predict([{"text": "anna in paris"}])[0], 3)
    assert Entities.model_validate(shown).model_dump() == shown
