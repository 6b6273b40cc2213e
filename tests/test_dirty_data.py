"""Deliveries as they come: every spoiled row is named, no other is, and nothing crashes."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from components.validation.examination import validate_dataset
from tests.reviews import Validated, reviews, run_config, write_csv, write_jsonl

CHINESE = "酒店服务房间干净早餐便宜位置方便老板热情设施陈旧隔音很差下次还来推荐朋友入住价格合理环境安静交通停车场免费"
BANKING = Path(__file__).resolve().parent.parent / "examples" / "banking77"
NOTED = ("straddling_rows",)


def chinese_reviews(count, seed=1):
    draw = random.Random(seed)
    texts = {"".join(draw.choices(CHINESE, k=draw.randint(15, 40))) for _ in range(count * 2)}
    return [{"text": text, "label": draw.choice(("好评", "差评"))} for text in sorted(texts)[:count]]


LANGUAGES = pytest.mark.parametrize("make", [reviews, chinese_reviews], ids=["English", "Chinese"])


def deliver(folder, rows, make=reviews, **validation):
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "validation.jsonl", make(60, 2))
    write_jsonl(folder / "test.jsonl", make(60, 3))
    data = {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}
    return Validated(run_config(folder, data, **validation))


def write_lines(path, lines, end="\n"):
    path.write_bytes(end.join(lines).encode())
    return path


def csv_lines(rows):
    return ["text,label", *(f'"{row["text"]}",{row["label"]}' for row in rows)]


@LANGUAGES
def test_clean_rows_raise_no_alarm(tmp_path, make):
    outcome = deliver(tmp_path, make(500), make)
    assert outcome.failed == []
    assert outcome.quarantined() == {}


@pytest.mark.parametrize("seed", range(20))
def test_clean_draws_of_real_questions_raise_no_alarm(tmp_path, seed):
    with (BANKING / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})[seed % 40 :: 8]
    write_csv(tmp_path / "train.csv", [row for row in rows if row["label"] in labels])
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    assert outcome.dataset is not None
    assert set(outcome.failed) <= {*NOTED, "duplicate_rows"}


@LANGUAGES
def test_all_kinds_of_unusable_rows_at_once_are_named_and_no_others(tmp_path, make):
    rows = make(600)
    spoiled = {
        7: ({"text": None}, "blank_text"),
        33: ({"text": "\u3000\u00a0 \u2003"}, "blank_text"),
        61: ({"text": 3.5}, "wrong_type"),
        90: ({"text": ["a"]}, "wrong_type"),
        120: ({"text": "字" * 30_000}, "long_text"),
        150: ({"text": "a\x00b"}, "control_characters"),
        180: ({"label": ""}, "missing_label"),
        210: ({"label": {"name": "good"}}, "wrong_type"),
    }
    for row, (spoil, _) in spoiled.items():
        rows[row] = {**rows[row], **spoil}
    outcome = deliver(tmp_path, rows, make)
    assert outcome.quarantined() == {f"train.jsonl:{row + 1}": [check] for row, (_, check) in spoiled.items()}
    assert outcome.dataset.rows["train"] == 600 - len(spoiled)


@LANGUAGES
def test_unknown_labels_of_every_kind_are_told_apart(tmp_path, make):
    held_out = make(60, 2)
    known = held_out[0]["label"]
    for row, label in {3: "neutral", 8: f" {known} ", 20: None, 30: "2", 40: known + "x"}.items():
        held_out[row] = {**held_out[row], "label": label}
    write_jsonl(tmp_path / "train.jsonl", make(300))
    write_jsonl(tmp_path / "validation.jsonl", held_out)
    data = {"train": "train.jsonl", "validation": "validation.jsonl"}
    outcome = Validated(run_config(tmp_path, data))
    found = {name: outcome.check(name)["failing"] for name in ("unknown_label", "label_spelling", "missing_label")}
    assert found == {
        "unknown_label": ["validation.jsonl:4", "validation.jsonl:31", "validation.jsonl:41"],
        "label_spelling": ["validation.jsonl:9"],
        "missing_label": ["validation.jsonl:21"],
    }
    assert outcome.rejection is not None


@LANGUAGES
def test_a_quarter_of_the_held_out_rows_in_train_is_found_row_by_row(tmp_path, make):
    rows, held_out = make(500), make(60, 2)
    for place in range(15):
        text = held_out[place]["text"]
        variant = (
            text,
            f"  {text.upper()} ",
            text[:8] + "\u3000" + text[8:] if make is chinese_reviews else text.title(),
        )
        rows[place * 30] = {**held_out[place], "text": variant[place % 3]}
    outcome = deliver(tmp_path, rows, make)
    assert sorted(outcome.quarantined()) == sorted(f"train.jsonl:{place * 30 + 1}" for place in range(15))
    assert set(outcome.failed) == {"leakage"}
    assert outcome.dataset.rows["validation"] == 60


def test_a_torn_delivery_names_every_broken_line(tmp_path):
    lines = [json.dumps(row) for row in reviews(400)]
    broken = {57: '{"text": "like the', 120: '{text: "a"}', 150: "[1, 2]", 151: '"a string"', 399: lines[399][:-12]}
    broken[160] = lines[160] + lines[161]
    for place, line in broken.items():
        lines[place] = line
    lines[152] = ""
    write_lines(tmp_path / "train.jsonl", lines)
    outcome = Validated(run_config(tmp_path, {"train": "train.jsonl"}))
    assert outcome.check("unreadable_rows")["failing"] == [f"train.jsonl:{place + 1}" for place in sorted(broken)]
    assert sum(outcome.dataset.rows.values()) == 400 - len(broken) - 1


@LANGUAGES
def test_an_unbalanced_quote_costs_one_row_of_a_csv_file(tmp_path, make):
    rows = make(200)
    lines = csv_lines(rows)
    lines[31] = f'"{rows[30]["text"]},{rows[30]["label"]}'
    write_lines(tmp_path / "train.csv", lines)
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    assert outcome.quarantined() == {"train.csv:32": ["unreadable_rows"]}


def test_ragged_rows_are_named_with_their_cells(tmp_path):
    lines = csv_lines(reviews(200))
    lines[1] += ",extra"  # where pandas would shift every column
    lines[50] = "onlyonecell"
    write_lines(tmp_path / "train.csv", lines)
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    assert outcome.check("unreadable_rows")["failing"] == ["train.csv:2", "train.csv:51"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path, end, mark):
    rows = reviews(200)
    rows[4]["text"] = "=HYPERLINK(1)+cmd"  # a formula is text as any other
    lines = csv_lines(rows)
    write_lines(tmp_path / "train.csv", [mark + lines[0], *lines[1:], ""], end)
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    assert outcome.failed == []
    assert sum(outcome.dataset.rows.values()) == 200


@pytest.mark.parametrize("encoding", ["cp1252", "gb18030", "shift_jis"])
def test_another_encoding_is_named_with_byte_line_and_remedy(tmp_path, encoding):
    texts = {"cp1252": "un café très agréable", "gb18030": "服务很好，房间干净", "shift_jis": "とてもよいホテルでした"}
    rows = reviews(200)
    for row in rows[1::20]:
        row["text"] = f"{texts[encoding]} {row['text']}"
    (tmp_path / "train.csv").write_bytes("\n".join(csv_lines(rows)).encode(encoding))
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    assert outcome.failed == ["encoding", "quarantined_share"] or outcome.failed == ["encoding"]
    assert "10 lines are not UTF-8" in outcome.rejection.problem
    assert "train.csv:3" in outcome.rejection.problem
    guess = {"cp1252": "WINDOWS-1252"}.get(encoding, encoding.upper())
    assert f"iconv -f {guess} -t UTF-8" in outcome.rejection.hint


def test_duplicates_and_conflicts_are_told_apart(tmp_path):
    rows = reviews(400)
    other = {"good": "bad", "bad": "good"}
    conflicts = [{**row, "label": other[row["label"]]} for row in rows[:5]]
    outcome = deliver(tmp_path, [*rows, *conflicts, *rows[5:40]])
    found = {name: len(outcome.check(name)["failing"]) for name in ("conflicting_labels", "duplicate_rows")}
    assert found == {"conflicting_labels": 10, "duplicate_rows": 35}
    assert outcome.dataset.rows["train"] == 395


def test_an_imbalance_is_noted(tmp_path):
    rows = [{**row, "label": "good" if place % 100 else "bad"} for place, row in enumerate(reviews(600))]
    outcome = deliver(tmp_path, rows)
    assert "label_balance" in outcome.failed
    assert outcome.dataset is not None


@pytest.mark.parametrize("change", ["drop", "rename", "retype", "duplicate", "empty"])
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_changed_schema_is_caught(tmp_path, column, change):
    rows = reviews(200)
    names = ["text", "label"]
    for row in rows:
        value = row.pop(column)
        if change == "rename":
            row[f"{column}_2"] = value
        elif change == "retype":
            row[column] = [value]
        elif change == "empty":
            row[column] = ""
        elif change == "duplicate":
            row[column] = value
    if change == "duplicate":
        lines = [",".join([*names, column]), *(f'"{row["text"]}",{row["label"]},x' for row in rows)]
        write_lines(tmp_path / "train.csv", lines)
        outcome = Validated(run_config(tmp_path, {"train": "train.csv"}))
    else:
        write_jsonl(tmp_path / "train.jsonl", rows)
        outcome = Validated(run_config(tmp_path, {"train": "train.jsonl"}))
    assert outcome.rejection is not None
    assert not (outcome.folder / "train.parquet").exists()


@pytest.mark.parametrize("change", ["reorder", "extra"])
def test_another_order_and_more_columns_raise_no_alarm(tmp_path, change):
    rows = [{**row, "id": place} for place, row in enumerate(reviews(200))]
    columns = ["label", "text", "id"] if change == "reorder" else ["id", "text", "label"]
    write_csv(tmp_path / "train.csv", rows, columns)
    assert Validated(run_config(tmp_path, {"train": "train.csv"})).failed == []


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_are_spoiled_at_random_never_crash(tmp_path, seed):
    draw = random.Random(seed)
    name = ("train.csv", "train.jsonl")[seed % 2]
    path = (write_csv if seed % 2 == 0 else write_jsonl)(tmp_path / name, reviews(120))
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 5, 50))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(content[: draw.choice((len(content), len(content) // 2))])
    outcome = Validated(run_config(tmp_path, {"train": name}))
    assert (outcome.dataset is None) != (outcome.rejection is None)


def test_no_component_prints(tmp_path, capsys):
    write_jsonl(tmp_path / "train.jsonl", reviews(100))
    validate_dataset(run_config(tmp_path, {"train": "train.jsonl"}), None, None, tmp_path / "validated")
    assert capsys.readouterr() == ("", "")
