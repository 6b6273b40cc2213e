"""The labelling queue: uncertain, novel and different rows come first, known and frozen ones never; and its files."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from components.errors import ConfigError, DataError
from components.labelling.known_rows import rows_behind
from components.labelling.pool import KnownTexts, known_texts, read_logged_pool, read_pool
from components.labelling.queue import QueuedRow, make_queue, truth_column
from components.labelling.queue_files import Origin, label_studio_interface, require_ending, write_queue
from components.labelling.usefulness import choose, entropy, novelty, share_of_uncertain
from components.models.inference import Predictor
from components.records import ValidatedDataset
from components.task_types import find_task_type
from tests.bundles import LABELS
from tests.reviews import write_jsonl

TEXT = {"text": "text"}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def around(center: int, rows: int, seed: int) -> np.ndarray:
    return unit(np.eye(16)[center] + 0.1 * np.random.default_rng(seed).normal(size=(rows, 16)))


def test_rows_far_from_the_training_rows_are_novel_and_others_as_usual():
    train = np.vstack([around(0, 300, 1), around(1, 300, 2)])
    usual, strange = novelty(around(0, 200, 3), train), novelty(around(7, 20, 4), train)
    assert strange.min() == 1.0
    assert usual.mean() == pytest.approx(0.5, abs=0.1)
    assert (usual > 0.95).mean() < 0.15
    assert novelty(around(0, 5, 3), train[:5]).tolist() == [1.0] * 5  # nothing to compare with


def test_entropy_is_a_share_of_the_largest():
    assert entropy({"a": 0.5, "b": 0.5}) == pytest.approx(1)
    assert entropy({"a": 1.0, "b": 0.0}) == pytest.approx(0, abs=1e-9)
    assert entropy({"a": 0.7, "b": 0.2, "c": 0.1}) == pytest.approx(0.8018 / np.log(3), abs=1e-3)
    assert entropy({"a": 0.5, "b": 0.5, "c": 0.5}) == pytest.approx(1)  # labels of their own
    assert entropy({"value": 3.0}) is None


def test_the_most_useful_row_comes_first_and_its_likes_late():
    vectors = np.vstack([around(0, 50, 1), around(1, 50, 2), around(2, 50, 3)])
    useful = np.full(150, 0.5)
    useful[70] = 0.9
    chosen = choose(vectors, useful, 3)
    assert chosen[0].row == 70
    assert sorted(each.row // 50 for each in chosen) == [0, 1, 2]
    assert chosen[1].distance > 0.8
    assert len({each.row for each in choose(vectors, useful, 999)}) == 150


def test_copies_of_a_row_are_the_last_to_be_chosen():
    copies = np.repeat(around(0, 1, 1), 5, axis=0)
    chosen = choose(np.vstack([copies, around(1, 2, 2)]), np.array([1.0] * 5 + [0.1] * 2), 7)
    assert {each.row for each in chosen[1:3]} == {5, 6}
    assert sorted(each.row for each in chosen) == list(range(7))


def test_uncertainty_is_what_lacks_to_a_full_margin():
    assert share_of_uncertain([0.0, 0.25, 1.0, float("inf")]).tolist() == [1.0, 0.75, 0.0, 0.0]


def known(train: list[str], test: list[str]) -> KnownTexts:
    return KnownTexts({"train": [(text,) for text in train], "validation": [], "test": [(text,) for text in test]}, 0.8)


def test_labelled_frozen_blank_and_double_rows_are_left_out_and_counted(tmp_path):
    frozen = "the lantern that my neighbour bought glowed all night long"
    texts = ["Trained  on", frozen.upper(), f"{frozen}!!", "new one", "NEW one", " ", "another"]
    source = write_jsonl(tmp_path / "pool.jsonl", [{"text": text} for text in texts])
    pool = read_pool(source, TEXT, known(["trained on"], [frozen]))
    assert [row["text"] for row in pool.rows] == ["new one", "another"]
    assert pool.names == ("pool.jsonl:4", "pool.jsonl:7")
    assert pool.left_out == {
        "without a text": 1, "in the training data": 1, "held-out rows": 1, "nearly held-out rows": 1, "there twice": 1,
    }  # fmt: skip
    assert pool.total == 7


def test_a_pool_of_known_rows_alone_has_nothing_to_label(tmp_path):
    source = write_jsonl(tmp_path / "pool.jsonl", [{"text": "a b"}, {"text": "c d"}])
    with pytest.raises(DataError, match="no row to label: of 2 rows 2 in the training data"):
        read_pool(source, TEXT, known(["a b", "c d"], []))


def test_what_was_asked_and_written_down_is_a_pool(tmp_path):
    def line(number: int, *texts: str, page: str = "/predict") -> str:
        rows = {"texts": [{"text": text, "top_k": 3} for text in texts]} if texts else {}
        return json.dumps({"page": page, "request": f"r{number}", "rows": [], **rows}) + "\n"

    log = tmp_path / "requests-shop.jsonl"
    log.write_text(
        line(3, "new wish", "trained on") + line(4) + '{"half a line\n' + line(5, "corrected", page="/feedback")
    )
    (tmp_path / "requests-shop.jsonl.1").write_text(line(1, "old wish", " ") + line(2, "New  wish"))
    pool = read_logged_pool([log], ["text"], known(["trained on"], []))
    assert [dict(row) for row in pool.rows] == [{"text": "new wish"}, {"text": "old wish"}]
    assert pool.names == ("requests-shop.jsonl:r3", "requests-shop.jsonl:r1")
    assert (pool.total, dict(pool.left_out)) == (5, {"without a text": 1, "in the training data": 1, "there twice": 1})
    log.write_text(line(4))
    (tmp_path / "requests-shop.jsonl.1").unlink()
    with pytest.raises(DataError, match=r"No texts are in requests-shop\.jsonl") as caught:
        read_logged_pool([log], ["text"], known([], []))
    assert "serving.log_texts" in caught.value.hint


@pytest.mark.parametrize("options", [[], ["--input", "pool.csv", "--from-log"]])
def test_the_pool_is_a_file_or_the_log(options, capsys, monkeypatch):
    from flows.cli import app

    monkeypatch.setattr("sys.argv", ["rebert", "label-queue", "shop", "--output", "queue.csv", *options])
    with pytest.raises(SystemExit) as caught:
        app()
    assert caught.value.code == 2
    assert "The pool is either a file or the log." in capsys.readouterr().err


def test_a_missing_column_names_the_option(tmp_path):
    source = write_jsonl(tmp_path / "pool.jsonl", [{"review": "a b"}])
    with pytest.raises(DataError, match=r"has no column 'text'") as caught:
        read_pool(source, TEXT, known([], []))
    assert "--column text=review" in caught.value.hint


@pytest.fixture(scope="module")
def queue(support_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[QueuedRow]:
    """A queue of a tiny model, whose pool has one text in another script."""
    words = ("card", "money", "balance", "refund", "where", "please", "payment", "left", "help")
    draw = np.random.default_rng(0)
    texts = sorted({" ".join(draw.choice(words, 4)) for _ in range(200)})
    source = write_jsonl(tmp_path_factory.mktemp("pool") / "pool.jsonl", [{"text": text} for text in texts[60:]])
    pool = read_pool(source, TEXT, known(texts[:60], []))
    return make_queue(support_model, pool, known(texts[:60], []), 20)


def test_each_row_has_the_answer_that_predict_gives_and_says_why_it_is_here(queue, support_model):
    answers = Predictor.load(support_model).predict([row.texts for row in queue])
    kind = find_task_type("text_classification")
    assert [row.proposal for row in queue] == [kind.said(answer) for answer in answers]
    assert [row.margin for row in queue] == pytest.approx([kind.margin(answer) for answer in answers], abs=2e-4)
    assert len({row.name for row in queue}) == 20
    for row in queue:
        assert row.reasons.startswith(("uncertain: ", "novel: ", "diverse: "))
        assert ("uncertain" in row.reasons) == (row.margin <= 0.5)
        assert ("novel" in row.reasons) == (row.novelty >= 0.95)


def test_the_queue_is_more_uncertain_and_more_novel_than_the_pool(queue, support_model):
    assert np.mean([row.novelty for row in queue[:10]]) > 0.5
    first, last = queue[0], queue[-1]
    usefulness = [(1 - row.margin + row.novelty) / 2 for row in (first, last)]
    assert usefulness[0] > usefulness[1]


def test_csv_comes_back_as_feedback(queue, tmp_path):
    origin = Origin("support", 7, LABELS, "label")
    (path,) = write_queue(tmp_path / "queue.csv", "csv", queue, origin)
    rows = list(csv.DictReader(StringIO(path.read_text(encoding="utf-8"))))
    assert list(rows[0])[:3] == ["text", "label", "proposal"]
    assert {row["label"] for row in rows} == {""}
    assert {(row["model"], row["version"]) for row in rows} == {("support", "7")}
    assert [row["row"] for row in rows] == [row.name for row in queue]


def test_label_studio_gets_tasks_with_predictions_and_an_interface_that_names_the_same_things(queue, tmp_path):
    origin = Origin("support", 7, (*LABELS, 'a "b" & <c>'), "label")
    tasks, interface = write_queue(tmp_path / "queue.json", "label-studio", queue, origin)
    content = json.loads(tasks.read_text(encoding="utf-8"))
    assert content[0]["data"]["text"] == queue[0].texts["text"]
    (prediction,) = content[0]["predictions"]
    assert prediction["model_version"] == "support version 7"
    assert prediction["score"] == queue[0].confidence
    (result,) = prediction["result"]
    view = ElementTree.fromstring(interface.read_text(encoding="utf-8"))  # noqa: S314 - our own
    control = view.find("Choices")
    assert (control.get("name"), control.get("toName")) == (result["from_name"], result["to_name"])
    assert view.find("Text").get("value") == "$text"
    assert [choice.get("value") for choice in control] == list(origin.labels)
    assert set(result["value"]["choices"]) <= set(origin.labels)


@pytest.mark.parametrize(
    ("column", "answer", "kind", "value"),
    [
        ("labels", {"labels": ["joy", "love"]}, "choices", {"choices": ["joy", "love"]}),
        ("value", {"value": 2.5}, "number", {"number": 2.5}),
        (
            "entities",
            {"entities": [{"start": 0, "end": 4, "text": "Jane", "label": "PER", "score": 0.9}]},
            "labels",
            {"start": 0, "end": 4, "text": "Jane", "labels": ["PER"]},
        ),
        (
            "answers",
            {"answer": "five", "start": 2, "end": 6},
            "labels",
            {"start": 2, "end": 6, "text": "five", "labels": ["answer"]},
        ),
    ],
)
def test_every_kind_of_answer_is_a_region_of_its_control(tmp_path, column, answer, kind, value):
    texts = {"question": "How many?", "context": "a five"} if column == "answers" else {"text": "Jane"}
    row = QueuedRow("pool:1", texts, answer, "x", None, None, None, 0.5, 0.1, "novel")
    origin = Origin("shop", 1, ("joy", "love", "PER"), column)
    tasks, interface = write_queue(tmp_path / "queue.json", "label-studio", [row], origin)
    (prediction,) = json.loads(tasks.read_text())[0]["predictions"]
    (result,) = prediction["result"]
    assert (result["type"], result["value"]) == (kind, value)
    assert "score" not in prediction
    view = ElementTree.fromstring(interface.read_text())  # noqa: S314
    control = view[-1]
    assert (control.tag.lower(), control.get("name"), control.get("toName")) == (
        kind, column, result["to_name"],
    )  # fmt: skip
    assert control.get("toName") in {text.get("name") for text in view.findall("Text")}
    assert label_studio_interface(list(texts), origin) == interface.read_text()


def test_the_column_of_the_true_answer_is_that_beside_plain_texts():
    names = ("text_classification", "multi_label", "regression", "token_classification", "question_answering")
    assert [truth_column(find_task_type(name)) for name in names] == ["label", "labels", "value", "entities", "answers"]
    with pytest.raises(ConfigError, match="Rows of fill_mask have no labels"):
        truth_column(find_task_type("fill_mask"))


def test_an_ending_that_does_not_fit_is_told_at_once():
    with pytest.raises(ConfigError, match=r"queue\.csv does not end in \.json"):
        require_ending(Path("queue.csv"), "label-studio")


def test_the_texts_of_a_data_set_are_known_by_split(tmp_path):
    for split in ("train", "validation", "test"):
        pd.DataFrame({"row_id": ["1"], "text": [split], "label": ["x"]}).to_parquet(tmp_path / f"{split}.parquet")
    dataset = ValidatedDataset(tmp_path, "rows", {}, (), 0, {}, ())
    found = known_texts(dataset, ["text"], 0.8)
    assert found.texts == {split: [(split,)] for split in ("train", "validation", "test")}


def test_rows_are_validated_again_where_their_step_was_pruned_and_told_where_the_file_is_gone(tmp_path):
    import shutil

    from components.data.data_files import find_data
    from components.recipes import Recipe, this_machine
    from components.records import BaseModel
    from components.settings import read_settings
    from components.step_parts import Inputs, validate_step
    from tests.reviews import reviews, run_config, write_csv

    write_csv(tmp_path / "train.csv", reviews(60))
    config, settings = run_config(tmp_path, {"train": "train.csv"}), read_settings({"REBERT_HOME": "home"}, tmp_path)
    inputs = Inputs(config, find_data(config), BaseModel("tiny", tmp_path, "base", "t"), None, {}, "cpu fp32")
    step = validate_step(inputs)
    parts = {"validate": dict(step.parts)}
    recipe = Recipe(
        config.model_dump(mode="json"), tmp_path, inputs.files, None, "tiny", "base", "rows", parts, this_machine()
    )
    made = rows_behind(recipe, None, settings)
    assert sum(made.rows.values()) == 60
    shutil.rmtree(settings.steps)
    assert rows_behind(recipe, None, settings).digest == made.digest
    shutil.rmtree(settings.steps)
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"train\.csv is gone or changed, and the validated rows were removed"):
        rows_behind(recipe, None, settings)
