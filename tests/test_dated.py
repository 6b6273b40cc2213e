"""The data of a day: which files and rows were there by its end."""

from __future__ import annotations

import csv
import os
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import RunConfig
from components.data.data_files import find_data
from components.data.delivery import read_delivery
from components.errors import ConfigError, DataError
from components.records import Split
from components.run_files import read_run_file, with_data_of
from tests.deliveries import rows, write_csv, write_run_file

DAY = date(2026, 11, 16)


@pytest.fixture
def weeks(tmp_path: Path) -> Path:
    for number, day in enumerate(("2026-11-09", "2026-11-16", "2026-11-23")):
        write_csv(tmp_path / f"week-{day}.csv", rows(5, seed=number))
    write_csv(tmp_path / "test.csv", rows(5, seed=9))
    return tmp_path


def config_of(folder: Path, day: date | None = DAY, **data: object) -> RunConfig:
    section = {"train": "week-*.csv", "test": "test.csv", **data}
    path = write_run_file(folder, folder, data=section, schedule={"timezone": "Europe/Berlin"})
    return with_data_of(read_run_file(path), day)


def names(config: RunConfig, split: Split = "train") -> list[str]:
    return [file.path.name for file in find_data(config)[split]]


def test_files_that_are_named_for_a_later_day_are_left_out(weeks: Path):
    config = config_of(weeks, dated_by="path")
    assert names(config) == ["week-2026-11-09.csv", "week-2026-11-16.csv"]
    assert names(config, "test") == ["test.csv"]  # frozen rows have always been there
    assert read_delivery(config, find_data(config)).files == (*names(config), "test.csv")
    assert len(read_delivery(config).table) == 15  # also where the files are looked for while reading


@pytest.mark.parametrize(
    "path", ["2026/11/16/a.csv", "20261116.csv", "day_2026_11_16.csv", "year=2026/month=11/day=16/part-0.csv"]
)
def test_a_date_is_found_in_whatever_way_paths_say_it(tmp_path: Path, path: str):
    write_csv(tmp_path / path, rows(5, seed=1))
    write_csv(tmp_path / "test.csv", rows(5, seed=9))
    assert names(config_of(tmp_path, DAY, train=path, dated_by="path"))
    with pytest.raises(DataError, match="the first is of 2026-11-16"):
        find_data(config_of(tmp_path, DAY - timedelta(days=1), train=path, dated_by="path"))


def test_digits_that_are_no_date_do_not_count(weeks: Path):
    write_csv(weeks / "week-2026-99-99.csv", rows(5, seed=5))
    with pytest.raises(DataError, match=r"week-2026-99-99\.csv of data.train: no date in the path"):
        find_data(config_of(weeks, dated_by="path"))


def test_the_time_of_a_file_goes_by_the_clock_of_the_schedule(weeks: Path):
    late = datetime.fromisoformat("2026-11-16T23:30:00+00:00").timestamp()  # in Berlin the 17th
    for path in weeks.glob("*.csv"):
        os.utime(path, (late, late - 86400 if "11-09" in path.name or path.name == "test.csv" else late))
    assert names(config_of(weeks, dated_by="modified")) == ["week-2026-11-09.csv"]
    assert len(names(config_of(weeks, DAY + timedelta(days=1), dated_by="modified"))) == 3


def write_dated(path: Path, dates: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "day"])
        for (text, label), day in zip(rows(len(dates), seed=3), dates, strict=True):
            writer.writerow([text, label, day])
    return path


def test_rows_are_chosen_by_their_column(tmp_path: Path):
    write_dated(tmp_path / "week-1.csv", ["2026-11-15", "2026-11-16T08:00:00", "2026-11-16T23:30:00Z", "2026-11-17"])
    write_csv(tmp_path / "test.csv", rows(5, seed=9))
    delivery = read_delivery(config_of(tmp_path, dated_by="column:day"))
    assert not delivery.problems
    assert delivery.row_ids().to_pylist()[:2] == ["week-1.csv:2", "week-1.csv:3"]
    assert len(delivery.table) == 2 + 5
    assert len(read_delivery(config_of(tmp_path, None, dated_by="column:day")).table) == 4 + 5


@given(days=st.lists(st.dates(date(2026, 1, 1), date(2026, 12, 31)), min_size=1, max_size=20), day=st.dates())
def test_a_row_is_there_from_its_day_on(days, day, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    write_dated(folder / "week-1.csv", [each.isoformat() for each in days])
    write_csv(folder / "test.csv", rows(3, seed=9))
    config = config_of(folder, None, dated_by="column:day")
    config = config.model_copy(update={"data": config.data.model_copy(update={"as_of": day})})
    assert len(read_delivery(config).table) == 3 + sum(each <= day for each in days)


def test_a_row_without_a_date_is_named(tmp_path: Path):
    write_dated(tmp_path / "week-1.csv", ["2026-11-15", "yesterday", ""])
    write_csv(tmp_path / "test.csv", rows(5, seed=9))
    ((_, error),) = read_delivery(config_of(tmp_path, dated_by="column:day")).problems
    assert (
        error.problem == "week-1.csv:3: column 'day' says 'yesterday', which is no date, and 1 more rows are like that."
    )


def test_training_data_without_the_column_is_a_sentence(weeks: Path):
    problems = read_delivery(config_of(weeks, dated_by="column:day")).problems
    assert "has no column 'day' that dates its rows; it has: 'text', 'label'." in problems[0][1].problem


def test_a_run_file_must_say_what_dates_its_data(weeks: Path):
    with pytest.raises(ConfigError, match="does not say what dates its data") as caught:
        config_of(weeks)
    assert "data.dated_by" in caught.value.hint
    path = write_run_file(weeks, weeks, data={"train": "week-*.csv", "test": "test.csv", "as_of": "2026-11-16"})
    with pytest.raises(ConfigError, match="as_of needs dated_by"):
        read_run_file(path)


def test_a_day_to_come_is_refused(weeks: Path):
    with pytest.raises(ConfigError, match="has not been yet"):
        config_of(weeks, date.today() + timedelta(days=3), dated_by="path")
