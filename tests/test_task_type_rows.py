"""Rows of every task type become texts and a label; those that cannot be read are named with their reason."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.records import SPLITS, BaseModel
from components.task_types import find_task_type
from components.validation.checks import LABEL_SET_CHECKS, REACH, TRAINING_CHECKS
from tests.reviews import Validated, reviews, run_config, write_csv, write_jsonl

TAGS = {"good": ["praise"], "bad": ["blame", "return"]}


def validated(folder, task_type, train, champion=None, settings=None, evaluation=None, base=None, **validation):
    """Validate one training file as this type; the other splits are shares of it."""
    data = {"train": train} if isinstance(train, str | list) else train
    config = run_config(folder, data, evaluation, **validation)
    chosen = {"task_type": task_type, "task": {**find_task_type(task_type).settings().model_dump(), **(settings or {})}}
    return Validated(config.model_copy(update=chosen), champion, BaseModel("tiny", base, "", "") if base else None)


def tagged(count=200):
    return [{"text": row["text"], "labels": TAGS[row["label"]]} for row in reviews(count)]


def rows_of(dataset):
    return [row for split in SPLITS for row in pq.read_table(dataset.split_file(split)).to_pylist()]


def kept(outcome):
    return {row["row_id"]: row for row in rows_of(outcome.dataset)}


def test_each_of_several_labels_counts(tmp_path):
    rows = tagged()
    rows[4]["labels"] = []
    outcome = validated(tmp_path, "multi_label", write_jsonl(tmp_path / "train.jsonl", rows).name)
    assert outcome.failed == []
    assert outcome.dataset.labels == ("blame", "praise", "return")
    assert kept(outcome)["train.jsonl:5"]["label"] == "[]"
    blamed = sum("blame" in row["labels"] for row in rows)
    counts = outcome.report["labels"].values()
    assert sum(split["blame"] for split in counts) == sum(split["return"] for split in counts) == blamed
    assert sum(outcome.report["rows"].values()) == 200


def test_one_unknown_label_among_several_stops_and_so_does_another_spelling(tmp_path):
    rows = tagged()
    rows[7]["labels"] = ["praise", "joy"]
    rows[9]["labels"] = ["blame", "Return"]
    champion = ("blame", "praise", "return")
    outcome = validated(tmp_path, "multi_label", write_jsonl(tmp_path / "train.jsonl", rows).name, champion)
    assert outcome.failed == ["label_spelling", "unknown_label"]
    assert outcome.check("unknown_label")["failing"] == ["train.jsonl:8"]
    assert "'joy'; known are blame, praise, return" in outcome.check("unknown_label")["sentence"]
    assert outcome.check("label_spelling")["failing"] == ["train.jsonl:10"]
    assert outcome.check("label_spelling")["hint"] == "map 'Return' to 'return' at the source."


def test_lists_in_json_lines_and_parquet_and_their_text_in_csv_are_the_same_rows(tmp_path):
    rows = tagged()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    spelled = [{**row, "labels": json.dumps(row["labels"])} for row in rows]
    write_csv(tmp_path / "rows.csv", spelled, ["text", "labels"])
    names = ("rows.jsonl", "rows.parquet", "rows.csv")
    assert len({validated(tmp_path, "multi_label", name).dataset.digest for name in names}) == 1


def test_a_row_that_cannot_be_read_is_set_aside_with_its_reason_and_value_and_only_for_that(tmp_path):
    rows = [
        {"text": row["text"], "entities": [{"start": 0, "end": 4 + place % 2, "label": "THING"}]}
        for place, row in enumerate(reviews(200))
    ]
    rows[3]["entities"] = [{"start": 2, "end": 4000, "label": "THING"}]
    rows[8]["entities"] = [{"start": 0, "end": 4, "label": "THING", "text": "Mr Smith"}]
    rows[12]["text"] = 5
    outcome = validated(tmp_path, "token_classification", write_jsonl(tmp_path / "train.jsonl", rows).name)
    assert outcome.quarantined() == {
        "train.jsonl:4": ["span_outside_text"],
        "train.jsonl:9": ["span_text_differs"],
        "train.jsonl:13": ["wrong_type"],
    }
    lines = [json.loads(line) for line in (outcome.folder / "quarantine.jsonl").read_text().splitlines()]
    assert json.loads(lines[0]["values"]["entities"]) == rows[3]["entities"]
    assert lines[0]["values"]["text"] == rows[3]["text"]
    assert "Mr Smith" in lines[1]["reasons"][0]["detail"]
    assert "Smith" not in outcome.check("span_text_differs")["sentence"]  # it goes to MLflow and logs
    assert lines[2]["values"]["text"] == 5
    assert outcome.check("span_outside_text")["sentence"].startswith(
        "1 of 200 rows cannot be learned from; the first: "
    )
    assert outcome.dataset.labels == ("THING",)


def test_a_row_that_is_mended_goes_on_and_is_counted_and_named(tmp_path):
    rows = [{"tokens": row["text"].split(), "tags": ["B-A", *["O"] * row["text"].count(" ")]} for row in reviews(200)]
    rows[3]["tags"][:2] = ["O", "I-A"]
    train = write_jsonl(tmp_path / "train.jsonl", rows).name
    outcome = validated(tmp_path, "token_classification", train, settings={"illegal_sequences": "repair"})
    found = outcome.check("repaired_tags")
    assert (found["severity"], found["passed"], found["rows"]) == ("warn", False, 1)
    assert "were mended" in found["sentence"]
    assert "train.jsonl:4" in found["sentence"]
    assert outcome.quarantined() == {}
    strict = {"severity": {"repaired_tags": "quarantine"}}
    set_aside = validated(tmp_path, "token_classification", train, settings={"illegal_sequences": "repair"}, **strict)
    assert set_aside.quarantined() == {"train.jsonl:4": ["repaired_tags"]}


def test_a_severity_may_name_a_check_of_the_task_type(tmp_path):
    rows = tagged()
    rows[3]["labels"] = {"praise": True}
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    outcome = validated(tmp_path, "multi_label", name, severity={"broken_labels": "stop"})
    assert outcome.failed == ["broken_labels"]
    assert "1 of 200 rows cannot be learned from" in outcome.rejection.problem


def test_a_delivery_without_one_readable_row_says_why(tmp_path):
    rows = [{**row, "labels": {"praise": True}} for row in tagged()]
    outcome = validated(tmp_path, "multi_label", write_jsonl(tmp_path / "train.jsonl", rows).name)
    assert outcome.rejection.problem.startswith("Set aside: 200 of 200 train rows (100.0%)")
    assert "Most by broken_labels: 200 of 200 rows cannot be learned from" in outcome.rejection.problem


def test_numbers_have_no_label_checks(tmp_path):
    rows = [{"text": row["text"], "value": place / 10} for place, row in enumerate(reviews(200))]
    rows[5]["value"] = "many"
    outcome = validated(tmp_path, "regression", write_jsonl(tmp_path / "train.jsonl", rows).name)
    assert outcome.failed == ["not_a_number"]
    assert outcome.dataset.labels == ()
    assert not {each["name"] for each in outcome.report["checks"]} & set(LABEL_SET_CHECKS)
    assert kept(outcome)["train.jsonl:4"]["label"] == "0.3"
    assert not any("Not evaluated" in each["sentence"] for each in outcome.report["checks"])


def test_settings_of_the_task_type_reach_its_reading(tmp_path):
    rows = [{"text": row["text"], "value": place / 10} for place, row in enumerate(reviews(200))]
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    outcome = validated(tmp_path, "regression", name, settings={"high": 19.85})
    assert outcome.quarantined() == {"train.jsonl:200": ["out_of_range"]}


def test_a_second_text_of_a_type_that_rewrites_is_there_where_the_run_file_names_it(tmp_path):
    rows = [
        {"a": row["text"], "b": f"{place} {row['label']}", "value": place / 10}
        for place, row in enumerate(reviews(200))
    ]
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    data = {"train": name, "columns": {"text": "a", "text_pair": "b"}}
    pairs = validated(tmp_path, "regression", data).dataset
    assert list(rows_of(pairs)[0]) == ["row_id", "text", "text_pair", "label"]
    singles = validated(tmp_path, "regression", {**data, "columns": {"text": "a"}}).dataset
    assert list(rows_of(singles)[0]) == ["row_id", "text", "label"]


def test_texts_alone_have_no_label(tmp_path):
    outcome = validated(tmp_path, "fill_mask", write_csv(tmp_path / "train.csv", reviews(200)).name)
    assert outcome.failed == []
    assert list(rows_of(outcome.dataset)[0]) == ["row_id", "text"]
    names = {each["name"] for each in outcome.report["checks"]}
    assert not names & {*LABEL_SET_CHECKS, "missing_label", "conflicting_labels"}
    assert sum(outcome.dataset.rows.values()) == 200


def test_files_of_one_delivery_may_have_different_forms(tmp_path):
    spans = [{"text": row["text"], "entities": [{"start": 0, "end": 4, "label": "THING"}]} for row in reviews(100)]
    words = [row["text"].split(" ") for row in reviews(100, 2)]
    tokens = [{"tokens": each, "tags": ["B-THING", *["O"] * (len(each) - 1)]} for each in words]
    tokens[6]["tags"] = ["B-THING"]
    write_jsonl(tmp_path / "a.jsonl", spans)
    pq.write_table(pa.Table.from_pylist(tokens), tmp_path / "b.parquet")
    outcome = validated(tmp_path, "token_classification", ["a.jsonl", "b.parquet"])
    assert outcome.quarantined() == {"b.parquet:7": ["illegal_tags"]}
    assert kept(outcome)["b.parquet:1"]["text"] == " ".join(words[0])
    assert sum(outcome.dataset.rows.values()) == 199


def test_slices_and_own_expectations_see_the_columns_of_the_files(tmp_path):
    rows = [{**row, "source": "shop" if place % 2 else "web"} for place, row in enumerate(tagged())]
    own = [{"type": "expect_column_values_to_not_match_regex", "column": "labels", "regex": "return"}]
    own += [{"type": "expect_column_value_lengths_to_be_between", "column": "text", "min_value": 3}]
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    outcome = validated(tmp_path, "multi_label", name, evaluation={"slices": ["source"]}, expectations=own)
    failing = outcome.check("own_1_column_values_to_not_match_regex")["failing"]
    assert len(failing) == sum("return" in row["labels"] for row in rows)
    assert outcome.check("own_2_column_value_lengths_to_be_between")["passed"]


def test_rows_without_a_true_answer_lack_their_label(tmp_path):
    rows = [
        {"question": f"What is {place}?", "context": row["text"], "answers": {"text": [], "answer_start": []}}
        for place, row in enumerate(reviews(200))
    ]
    rows[5]["answers"] = None
    rows[9]["question"] = " "
    outcome = validated(tmp_path, "question_answering", write_jsonl(tmp_path / "train.jsonl", rows).name)
    assert outcome.quarantined() == {"train.jsonl:6": ["missing_label"], "train.jsonl:10": ["blank_text"]}
    assert outcome.check("blank_text")["sentence"].startswith("1 of 200 rows has no question")


def test_squad_documents_are_rows(tmp_path):
    paragraphs = [
        {
            "context": row["text"],
            "qas": [
                {
                    "id": str(place),
                    "question": f"What {place}?",
                    "answers": [{"text": row["text"][:5], "answer_start": 0}],
                }
            ],
        }
        for place, row in enumerate(reviews(200))
    ]
    paragraphs[4]["qas"][0]["answers"][0]["text"] = "nowhere"
    content = {"version": "1.1", "data": [{"title": "Shop", "paragraphs": paragraphs}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    outcome = validated(tmp_path, "question_answering", "train.json")
    assert outcome.quarantined() == {"train.json:5": ["answer_not_in_context"]}
    row = kept(outcome)["train.json:7"]
    assert (row["question"], row["context"]) == ("What 6?", paragraphs[6]["context"])
    assert json.loads(row["label"]) == {"text": [row["context"][:5]], "answer_start": [0]}
    assert list(row) == ["row_id", "question", "context", "label"]


@pytest.mark.parametrize("task_type", ["multi_label", "token_classification", "regression", "question_answering"])
def test_a_missing_column_is_said_whatever_the_task_type(tmp_path, task_type):
    outcome = validated(tmp_path, task_type, write_csv(tmp_path / "train.csv", reviews(20), ["text", "label"]).name)
    assert "train.csv has no column" in outcome.rejection.problem


def test_where_nothing_is_learned_training_rows_are_not_held_against_the_others(tmp_path):
    rows = reviews(40)
    write_csv(tmp_path / "train.csv", [*rows[:5], {"text": f"{rows[20]['text']} indeed", "label": "good"}])
    write_csv(tmp_path / "test.csv", [rows[2], *rows[20:]])
    write_csv(tmp_path / "validation.csv", rows[10:20])
    data = {split: f"{split}.csv" for split in SPLITS}
    outcome = validated(tmp_path, "zero_shot", data)
    assert outcome.failed == []  # six rows are enough to name the labels
    assert outcome.dataset.rows == {"train": 6, "validation": 10, "test": 21}
    assert not {each["name"] for each in outcome.report["checks"]} & {*TRAINING_CHECKS, REACH}
    assert "leakage" in validated(tmp_path, "text_classification", data).failed


def test_answers_that_are_too_long_to_be_given_are_counted_and_named(tmp_path, tiny_base):
    texts = [row["text"] for row in reviews(60)]
    rows = [
        {"question": f"What {place}?", "context": text, "answers": {"text": [text[:6]], "answer_start": [0]}}
        for place, text in enumerate(texts)
    ]
    rows[7]["answers"] = {"text": [texts[7]], "answer_start": [0]}
    rows[9]["answers"] = {"text": [texts[9], texts[9][:3]], "answer_start": [0, 0]}  # one of them can be given
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    outcome = validated(tmp_path, "question_answering", name, base=tiny_base, settings={"max_answer_length": 8})
    check = outcome.check(REACH)
    assert (check["passed"], check["severity"], check["failing"]) == (False, "warn", ["train.jsonl:8"])
    assert check["sentence"].startswith("1 of 60 rows has an answer that is longer than task.max_answer_length")
    assert sum(outcome.dataset.rows.values()) == 60  # it is learned from all the same
    stopped = validated(
        tmp_path,
        "question_answering",
        name,
        base=tiny_base,
        settings={"max_answer_length": 8},
        severity={REACH: "stop"},
    )
    assert stopped.rejection.problem.startswith("1 of 60 rows has an answer")


def test_entities_with_borders_inside_a_word_are_counted_and_named(tmp_path, tiny_base):
    rows = [{"text": f"{row['text']} in Rome", "entities": []} for row in reviews(60)]
    for row in rows:
        row["entities"] = [{"start": len(row["text"]) - 4, "end": len(row["text"]), "label": "CITY"}]
    rows[3]["entities"][0]["start"] += 1
    rows[5] = {"text": "😀😀 in Rome tonight", "entities": [{"start": 8, "end": 12, "label": "CITY"}]}  # UTF-16 units
    name = write_jsonl(tmp_path / "train.jsonl", rows).name
    check = validated(tmp_path, "token_classification", name, base=tiny_base).check(REACH)
    assert check["failing"] == ["train.jsonl:4", "train.jsonl:6"]
    assert "not bytes or UTF-16 units" in check["hint"]
