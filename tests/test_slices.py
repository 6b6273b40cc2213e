"""Slices by columns, length, script and label, and how far apart they are."""

from __future__ import annotations

import pandas as pd
import pytest

from components.config import Evaluation
from components.reports.slices import gaps, length_band, odds_gap, script_of, slice_columns, slice_values
from components.task_types import find_task_type


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Where is my card?", "Latin"),
        ("我的卡在哪里？", "Han"),
        ("我的 card 在哪里", "mixed"),
        ("Где моя карта", "other"),
        ("12:30", "other"),
        ("我的银行卡还没有到 ok", "Han"),
    ],
)
def test_a_text_has_a_script(text, script):
    assert script_of(text) == script


def test_lengths_fall_into_bands_without_a_hole():
    bands = [length_band(count) for count in (0, 30, 31, 100, 101, 1000, 1001, 99999)]
    assert bands == ["0-30", "0-30", "31-100", "31-100", "101-300", "301-1000", "1001 or more", "1001 or more"]


def test_a_column_of_the_file_is_not_hidden_by_a_slice_of_ours():
    settings = Evaluation(slices=("length", "country"), slice_by=("length", "label"))
    assert slice_columns(settings) == ("length", "country", "text length", "label")
    rows = pd.DataFrame({"text": ["a" * 40], "text_pair": ["b" * 70], "length": ["long"], "label": ["x"]})
    found = [slice_values(rows, name, ("text", "text_pair")) for name in slice_columns(settings)]
    assert [None if values is None else values[0] for values in found] == ["long", None, "101-300", "x"]


def test_equalised_odds_are_the_largest_gap_of_recalls_and_false_alarms():
    """Recall of yes is 3/4 and 1/4, of no 1 and 1/2; the false alarms are the other way round."""
    truth = ["yes"] * 4 + ["no"] * 4
    here, there = ["yes", "yes", "yes", "no"] + ["no"] * 4, ["yes", "no", "no", "no", "no", "no", "yes", "yes"]
    rows = pd.DataFrame({"label": truth * 2, "predicted": here + there, "text": "a"})
    desk = pd.Series(["here"] * 8 + ["there"] * 8)
    assert odds_gap(rows, desk, enough=4) == pytest.approx(0.5)
    assert odds_gap(rows, desk, enough=5) is None


def test_labels_are_no_groups_that_could_be_treated_unequally():
    rows = pd.DataFrame({"label": ["yes", "no"], "predicted": ["yes", "yes"], "text": "a"})
    judged = [{"column": "label", "value": value, "score": score} for value, score in (("yes", 1.0), ("no", 0.0))]
    assert gaps(judged, rows, find_task_type("text_classification"), 1) == []
