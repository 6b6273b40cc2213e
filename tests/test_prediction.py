"""Answers for every row of a file, in its order, also for rows that have none."""

from __future__ import annotations

import csv
import json
import re

import pytest

from components.errors import DataError
from components.models.inference import Predictor
from components.models.prediction import predict_file
from service.problems import Problem
from service.requests import read_options
from tests.model_folders import TEXTS, build_model

COLUMNS = {"text": "review"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "review"], ["1", TEXTS[0]], ["2", "  "], ["3", TEXTS[2]], ["4", TEXTS[1]]])
    return path


def test_every_row_is_answered_in_its_order(tmp_path, tiny_model, source):
    target = tmp_path / "answers.jsonl"
    assert predict_file(tiny_model, source, target, COLUMNS) == 4
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    expected = Predictor.load(tiny_model).predict([{"text": TEXTS[index]} for index in (0, 2, 1)])
    assert [row["row"] for row in found] == [f"reviews.csv:{line}" for line in (2, 3, 4, 5)]
    assert [found[index]["label"] for index in (0, 2, 3)] == [answer["label"] for answer in expected]
    assert found[1]["problem"] == "the text is missing or blank"
    assert found[1]["label"] is None


def test_answers_can_be_csv(tmp_path, tiny_model, source):
    target = tmp_path / "answers.csv"
    predict_file(tiny_model, source, target, COLUMNS)
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [set(row) for row in rows] == [{"row", "label", "score", "top", "problem"}] * 4


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [
        ("answers.xlsx", COLUMNS, "neither .jsonl nor .csv"),
        ("nowhere/answers.csv", COLUMNS, "There is no folder"),
        ("answers.csv", {"text": "body"}, "it has: 'id', 'review'"),
    ],
)
def test_what_cannot_be_written_or_read_is_said(tmp_path, tiny_model, source, target, columns, expected):
    with pytest.raises(DataError, match=expected):
        predict_file(tiny_model, source, tmp_path / target, columns)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.csv"]


def test_a_column_of_another_name_is_asked_for(tmp_path, tiny_model, source):
    with pytest.raises(DataError) as caught:
        predict_file(tiny_model, source, tmp_path / "a.jsonl", {})
    assert caught.value.problem == "reviews.csv has no column 'text'; it has: 'id', 'review'."
    assert caught.value.hint == "say what they are called: --column text=review."


def test_options_are_asked_about_every_row(tmp_path, tiny_base, source):
    model = build_model(tmp_path / "model", tiny_base, task_type="zero_shot")
    asked = read_options("zero_shot", {"labels": ["card", "钱"], "multi_label": True, "top_k": 1})
    predict_file(model, source, tmp_path / "a.jsonl", COLUMNS, options=asked.options, top_k=asked.top_k)
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["label"] for row in found if row["problem"] is None} <= {"card", "钱"}
    assert [len(row["top"] or []) for row in found] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("task_type", "options", "problem"),
    [
        ("zero_shot", {"labels": []}, "'labels' is an empty list"),
        ("zero_shot", {"label": "x"}, "unknown key 'label'"),
        ("text_classification", {"labels": ["x"]}, "unknown key 'labels'"),
        ("fill_mask", {"top_k": 0}, "'top_k' must be at least 1"),
    ],
)
def test_options_are_checked_as_in_requests(task_type, options, problem):
    with pytest.raises(Problem, match=re.escape(problem)):
        read_options(task_type, options)


def test_a_pattern_of_several_files_is_refused(tmp_path, tiny_model, source):
    (tmp_path / "reviews-2.csv").write_text("review\nx\n")
    with pytest.raises(DataError, match="names 2 files"):
        predict_file(tiny_model, tmp_path / "reviews*.csv", tmp_path / "answers.csv", COLUMNS)
