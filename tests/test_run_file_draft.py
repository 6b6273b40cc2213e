"""A drafted run file can be run as it is, and fits the data that it was drafted for."""

from __future__ import annotations

import json
import random

import pytest
import yaml

from components.config import RunConfig
from components.data.column_looks import look_at_column, recognise
from components.data.run_file_draft import CHINESE_BASE, ENGLISH_BASE, draft_run_file
from components.errors import DataError
from components.run_files import read_run_file
from components.validation.examination import validate_dataset
from tests.reviews import reviews, write_csv, write_jsonl
from tests.test_dirty_data import chinese_reviews


def drafted(data, **settings) -> RunConfig:
    path = (data if data.is_dir() else data.parent) / "draft.yaml"
    path.write_text(draft_run_file(data, **settings), encoding="utf-8")
    return read_run_file(path)


def test_a_file_is_recognised_by_its_column_names(tmp_path):
    config = drafted(write_csv(tmp_path / "Shop Reviews 2.csv", reviews(200)))
    assert config.name == "shop-reviews-2"
    assert config.data.columns == {"text": "text", "label": "label"}
    assert config.data.train == ("Shop Reviews 2.csv",)
    assert config.data.validation is None
    assert config.model.base == ENGLISH_BASE
    assert config.validation.min_rows == 100


def test_columns_are_recognised_by_what_they_hold(tmp_path):
    rows = [{"nr": place, "words": row["text"], "verdict": row["label"]} for place, row in enumerate(reviews(200))]
    columns = drafted(write_csv(tmp_path / "a.csv", rows, ["nr", "words", "verdict"])).data.columns
    assert columns == {"text": "words", "label": "verdict"}


def test_pairs_are_recognised(tmp_path):
    pairs = zip(reviews(200), reviews(200, 5), strict=True)
    rows = [{"premise": one["text"], "hypothesis": two["text"], "label": one["label"]} for one, two in pairs]
    columns = drafted(write_jsonl(tmp_path / "pairs.jsonl", rows)).data.columns
    assert columns == {"text": "premise", "text_pair": "hypothesis", "label": "label"}


def test_a_folder_is_divided_by_the_names_of_its_files(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("train", "dev", "test"):
        write_csv(folder / f"{name}.csv", reviews(100))
    config = drafted(folder)
    data = config.data
    assert (config.name, data.train, data.validation, data.test) == (
        "shop",
        ("train.csv",),
        ("dev.csv",),
        ("test.csv",),
    )


def test_a_folder_of_weekly_files_is_all_for_training(tmp_path):
    for week in (1, 2):
        write_csv(tmp_path / f"week_{week}.csv", reviews(100, week))
    assert drafted(tmp_path).data.train == ("week_1.csv", "week_2.csv")


def test_a_file_called_train_takes_the_name_of_its_folder(tmp_path):
    folder = tmp_path / "Hotel"
    folder.mkdir()
    assert drafted(write_csv(folder / "train.csv", reviews(100))).name == "hotel"


def test_chinese_texts_get_a_chinese_base(tmp_path):
    config = drafted(write_jsonl(tmp_path / "评论.jsonl", chinese_reviews(200)))
    assert (config.name, config.model.base) == ("model", CHINESE_BASE)
    assert config.training.learning_rate == pytest.approx(3e-5)


def test_an_imbalance_changes_the_metric_and_weighs_the_labels(tmp_path):
    rows = [{**row, "label": "rare" if place % 20 == 0 else "usual"} for place, row in enumerate(reviews(400))]
    config = drafted(write_csv(tmp_path / "a.csv", rows))
    assert (config.evaluation.metric, config.training.class_weights) == ("macro_f1", "balanced")


def test_the_floor_lies_above_always_answering_the_most_frequent_label(tmp_path):
    rows = [{**row, "label": "rare" if place % 4 == 0 else "usual"} for place, row in enumerate(reviews(400))]
    assert drafted(write_csv(tmp_path / "a.csv", rows)).gate.floor == pytest.approx(0.81)


def test_long_texts_get_a_longer_input(tmp_path):
    draw = random.Random(1)
    short = write_csv(tmp_path / "short.csv", reviews(100))
    rows = [{**row, "text": " ".join(draw.choices(row["text"].split(), k=200))} for row in reviews(100)]
    long = write_csv(tmp_path / "long.csv", rows)
    assert drafted(short).model.max_length < drafted(long).model.max_length == 512


def test_the_base_and_the_place_of_the_run_file_can_be_named(tmp_path):
    (tmp_path / "data").mkdir()
    data = write_csv(tmp_path / "data" / "a.csv", reviews(100))
    text = draft_run_file(data, base="bert-base-uncased", folder=tmp_path)
    assert "train: data/a.csv" in text
    assert "base: bert-base-uncased" in text


def test_what_scheduled_runs_leave_behind_is_bounded(tmp_path):
    text = draft_run_file(write_csv(tmp_path / "a.csv", reviews(100)))
    assert yaml.safe_load(text)["retention"] == {"keep": 10}


def test_every_line_with_a_setting_says_what_it_means(tmp_path):
    text = draft_run_file(write_csv(tmp_path / "a.csv", reviews(100)))
    assert all(" # " in line or line.startswith("#") for line in text.splitlines() if line.strip())


def test_a_drafted_run_file_accepts_the_data_it_was_drafted_for(tmp_path):
    config = drafted(write_csv(tmp_path / "a.csv", reviews(300)))
    assert sum(validate_dataset(config, None, None, tmp_path / "validated").rows.values()) == 300


@pytest.mark.parametrize("name", ["away.csv", "empty"])
def test_no_data_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        draft_run_file(tmp_path / name)


def test_a_file_without_labels_says_what_its_columns_hold(tmp_path):
    write_csv(
        tmp_path / "a.csv",
        [{"words": row["text"]} | {"nr": place} for place, row in enumerate(reviews(50))],
        ["nr", "words"],
    )
    with pytest.raises(DataError, match=r"looks like a label: 'nr' \(50 different values\)"):
        draft_run_file(tmp_path / "a.csv")


def _rows_of_type(task_type):
    """Rows as people have them for each task type, and the roles that their columns are."""
    rows = reviews(200)
    spans, tags = [{"start": 0, "end": 4, "label": "THING"}], ["B-THING", "I-THING"]
    match task_type:
        case "multi_label":
            made = [{"text": row["text"], "labels": [row["label"]] * (place % 3 > 0)} for place, row in enumerate(rows)]
            return made, {"text": "text", "labels": "labels"}
        case "cells":
            moods = ("joy", "joy|love", "anger", "love | anger")
            made = [{"comment": row["text"], "emotions": moods[place % 4]} for place, row in enumerate(rows)]
            return made, {"text": "comment", "labels": "emotions"}
        case "regression":
            made = [
                {"sentence1": row["text"], "sentence2": row["text"][::-1], "label": place / 10}
                for place, row in enumerate(rows)
            ]
            return made, {"text": "sentence1", "text_pair": "sentence2", "value": "label"}
        case "token_classification":
            words = [row["text"].split()[:6] for row in rows]
            made = [{"tokens": each, "ner_tags": tags + ["O"] * (len(each) - 2)} for each in words]
            return made, {"tokens": "tokens", "tags": "ner_tags"}
        case "spans":
            made = [{"text": row["text"], "entities": spans * (place % 2)} for place, row in enumerate(rows)]
            return made, {"text": "text", "entities": "entities"}
        case "question_answering":
            made = [
                {
                    "id": str(place),
                    "question": f"What is {place}?",
                    "passage": row["text"],
                    "answers": {"text": [row["text"][:4]], "answer_start": [0]},
                }
                for place, row in enumerate(rows)
            ]
            return made, {"question": "question", "context": "passage", "answers": "answers"}
        case "fill_mask":
            return [{"line": row["text"]} for row in rows], {"text": "line"}
    return rows, {"text": "text", "label": "label"}


TYPES = ("multi_label", "cells", "regression", "token_classification", "spans", "question_answering", "fill_mask")


@pytest.mark.parametrize("task_type", [*TYPES, "text_classification"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_the_task_type_is_recognised_by_the_columns_and_its_draft_accepts_the_data(tmp_path, task_type, kind):
    rows, columns = _rows_of_type(task_type)
    if kind == "csv":
        spelled = [
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
            for row in rows
        ]
        path = write_csv(tmp_path / "a.csv", spelled, list(rows[0]))
    else:
        path = write_jsonl(tmp_path / "a.jsonl", rows)
    config = drafted(path)
    expected = {"spans": "token_classification", "cells": "multi_label"}
    assert config.task_type == expected.get(task_type, task_type)
    assert dict(config.data.columns) == columns
    assert sum(validate_dataset(config, None, None, tmp_path / "validated").rows.values()) > 150


def test_whole_numbers_as_labels_are_labels_and_a_score_beside_a_label_is_not_the_value(tmp_path):
    stars = [{**row, "label": 5 if row["label"] == "good" else 1} for row in reviews(200)]
    assert drafted(write_csv(tmp_path / "a.csv", stars)).task_type == "text_classification"
    scored = [{**row, "score": place / 7} for place, row in enumerate(reviews(200))]
    assert drafted(write_csv(tmp_path / "b.csv", scored, ["text", "label", "score"])).task_type == "text_classification"


def test_texts_with_signs_between_their_words_are_no_labels():
    sentences = [f"part {place}; and then {place + 1} times | until {place * 7}" for place in range(60)]
    assert look_at_column("text", sentences).look == "text"
    assert look_at_column("label", ["good", "bad"] * 20).look == "text"
    assert look_at_column("code", [f"{number}|{number + 1}" for number in range(40)]).look == "text"
    assert look_at_column("情绪", ["喜；爱", "怒", "喜"] * 20).look == "cells"


def test_very_few_rows_of_each_label_are_asked_and_not_learned(tmp_path):
    rows = [{"text": row["text"], "label": f"topic {place % 10}"} for place, row in enumerate(reviews(60))]
    config = drafted(write_csv(tmp_path / "a.csv", rows))
    assert config.task_type == "zero_shot"
    assert len(config.data.labels) == 10
    assert "try task_type: text_classification" in (tmp_path / "draft.yaml").read_text(encoding="utf-8")
    dataset = validate_dataset(config, None, None, tmp_path / "validated")
    assert sum(dataset.rows.values()) == 60
    assert dataset.rows["test"] > dataset.rows["train"]


def test_long_answers_get_a_longer_limit(tmp_path):
    rows = [
        {
            "question": f"谁 {place}?",
            "context": "好" * 90 + str(place),
            "answers": {"text": ["好" * 88], "answer_start": [0]},
        }
        for place in range(100)
    ]
    config = drafted(write_jsonl(tmp_path / "a.jsonl", rows))
    assert config.task["max_answer_length"] == 90
    rows = [{**row, "answers": {"text": ["好"], "answer_start": [0]}} for row in rows]
    assert drafted(write_jsonl(tmp_path / "b.jsonl", rows)).task["max_answer_length"] == 30


def test_texts_without_labels_get_advice(tmp_path):
    config = drafted(write_csv(tmp_path / "a.csv", [{"text": row["text"]} for row in reviews(60)], ["text"]))
    assert config.task_type == "fill_mask"
    assert "task_type: zero_shot" in (tmp_path / "draft.yaml").read_text(encoding="utf-8")


def test_a_task_type_that_there_is_not_is_never_written():
    columns = [look_at_column("text", ["a longer text", "and another one"]), look_at_column("labels", ['["x"]', "[]"])]
    assert recognise(columns, ["text_classification", "multi_label"])[0] == "multi_label"
    assert recognise(columns, ["text_classification"])[0] == "text_classification"
