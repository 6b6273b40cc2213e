"""A delivery is judged by every check; what is wrong is named with file and line, and acted on by its severity."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.data_files import find_data
from components.errors import DataError, RejectedData, StorageError
from components.records import SPLITS, BaseModel
from components.validation.examination import validate_dataset
from tests.reviews import Validated, reviews, run_config, write_csv, write_jsonl


@pytest.fixture
def validated(tmp_path):
    """Validate these rows; keys are splits, or settings of `validation`."""

    def run(train, champion=None, base=None, evaluation=None, labels=None, **parts):
        data = {"train": write_jsonl(tmp_path / "train.jsonl", train).name}
        for split in ("validation", "test"):
            if split in parts:
                data[split] = write_jsonl(tmp_path / f"{split}.jsonl", parts.pop(split)).name
        if labels:
            data["labels"] = labels
        return Validated(run_config(tmp_path, data, evaluation, **parts), champion, base)

    return run


def lines(rows, name="train.jsonl"):
    """Names of the rows at these positions of a JSON lines file."""
    return [f"{name}:{row + 1}" for row in rows]


def test_clean_rows_go_on_with_their_text_and_label_unchanged(validated):
    rows = reviews(200)
    rows[5]["text"] = "  Ｔｗｏ  spaces, FULL-width\tand ‘quotes’ "
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(40, 3))
    assert outcome.failed == []
    assert dict(outcome.dataset.rows) == {"train": 200, "validation": 30, "test": 40}
    train = pq.read_table(outcome.dataset.split_file("train"))
    assert train.column_names == ["row_id", "text", "label"]
    assert train["text"].to_pylist() == [row["text"] for row in rows]
    assert train["row_id"].to_pylist() == lines(range(200))
    assert outcome.dataset.labels == ("bad", "good")


def test_the_report_stands_in_three_forms_and_shows_nothing_as_markup(validated):
    rows = reviews(200)
    rows[3]["label"] = rows[7]["label"] = "<script>alert(1)</script>|*x*"
    outcome = validated(rows, min_rows_per_label=3)
    page = (outcome.folder / "validation.html").read_text()
    assert outcome.rejection.report == str(outcome.folder)
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "http" not in page
    assert "Rejected: 1 of" in page
    assert "<script" not in (outcome.folder / "validation.md").read_text()
    assert not outcome.report["accepted"]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        ({"text": None}, "blank_text"),
        ({"text": ""}, "blank_text"),
        ({"text": " \u3000\t\u00a0\u200b"}, "blank_text"),
        ({"text": 12345}, "wrong_type"),
        ({"text": ["a", "b"]}, "wrong_type"),
        ({"text": True}, "wrong_type"),
        ({"text": {"a": 1}}, "wrong_type"),
        ({"text": "half \ud83d"}, "wrong_type"),
        ({"text": "word " * 5000}, "long_text"),
        ({"text": "into \x00 something"}, "control_characters"),
        ({"text": "\x1b[31mred\x07"}, "control_characters"),
        ({"label": None}, "missing_label"),
        ({"label": " "}, "missing_label"),
        ({"label": ["good"]}, "wrong_type"),
    ],
    ids=repr,
)
def test_an_unusable_row_is_set_aside_with_its_reason_and_value(validated, spoil, check):
    rows = reviews(200)
    rows[41] |= spoil
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3))
    assert [each for each in outcome.failed if outcome.check(each)["severity"] != "warn"] == [check]
    assert outcome.quarantined() == {"train.jsonl:42": [check]}
    assert outcome.check(check)["examples"] == ["train.jsonl:42"]
    assert outcome.dataset.rows["train"] == 199
    (line,) = (outcome.folder / "quarantine.jsonl").read_text().splitlines()
    for key, value in spoil.items():
        assert json.loads(line)["values"][key] == (value if value != "half \ud83d" else "half \ufffd")


def test_a_missing_key_is_a_missing_value(validated):
    rows = reviews(200)
    del rows[3]["text"], rows[8]["label"]
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.quarantined() == {"train.jsonl:4": ["blank_text"], "train.jsonl:9": ["missing_label"]}


@pytest.mark.parametrize(
    "text", ["cafÃ© au lait", "itâ€™s here", "ðŸ˜€ fun", "ä¸­æ–‡ words", "lost \ufffd sign", "锟斤拷"]
)
def test_damaged_text_is_noted_and_goes_on(validated, text):
    rows = reviews(200)
    rows[9]["text"] = text
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.failed == ["damaged_text"]
    assert outcome.check("damaged_text")["failing"] == ["train.jsonl:10"]
    assert text not in outcome.check("damaged_text")["sentence"]  # it goes to MLflow and logs
    assert outcome.dataset.rows["train"] == 200


@pytest.mark.parametrize("text", ["São Paulo, NÃO!", "“café…”", "Âge d'or à l'été", "naïve façade", "很好 5°C", "ΠΑΣ"])
def test_accents_are_no_damage(validated, text):
    rows = reviews(200)
    rows[9]["text"] = text
    assert validated(rows, validation=reviews(30, 2), test=reviews(30, 3)).failed == []


def test_labels_that_are_numbers_or_true_and_false_are_words(validated):
    rows = [{**row, "label": row["label"] == "good"} for row in reviews(200)]
    held_out = [{**row, "label": "true" if row["label"] == "good" else "false"} for row in reviews(30, 2)]
    outcome = validated(rows, validation=held_out)
    assert outcome.dataset.labels == ("false", "true")


def test_an_unknown_label_stops_and_known_ones_are_listed(validated):
    held_out = reviews(30, 2)
    held_out[4]["label"] = "neutral"
    outcome = validated(reviews(200), validation=held_out, test=reviews(30, 3))
    assert outcome.failed == ["unknown_label"]
    assert "'neutral'; known are bad, good" in outcome.rejection.problem
    assert "validation.jsonl:5" in outcome.rejection.problem
    assert "data.labels" in outcome.rejection.hint
    assert not (outcome.folder / "train.parquet").exists()


@pytest.mark.parametrize("label", ["GOOD", " good ", "ｇｏｏｄ"])
def test_a_label_in_another_spelling_stops_and_the_hint_names_the_one_meant(validated, label):
    rows = reviews(200)
    rows[4]["label"] = label
    outcome = validated(rows)
    assert outcome.failed == ["label_spelling"]
    assert outcome.rejection.hint == f"map {label!r} to 'good' at the source."


def test_the_champions_labels_are_the_known_ones(validated):
    rows = reviews(200)
    rows[4]["label"] = "neutral"
    outcome = validated(rows, champion=("bad", "good"))
    assert outcome.failed == ["unknown_label"]


def test_a_label_of_the_champion_that_vanished_stops(validated):
    outcome = validated(reviews(200), champion=("bad", "good", "neutral"))
    assert outcome.failed == ["label_support", "vanished_label"]
    outcome = validated(reviews(200), champion=("bad", "good", "neutral"), labels=["bad", "good"])
    assert outcome.failed == ["vanished_label"]
    assert "neutral" in outcome.rejection.problem


def test_a_declared_label_that_is_new_to_the_champion_is_noted(validated):
    rows = reviews(300)
    for row in rows[::3]:
        row["label"] = "neutral"
    outcome = validated(rows, champion=("bad", "good"), labels=["bad", "good", "neutral"])
    assert outcome.failed == ["new_label"]
    assert outcome.dataset.labels == ("bad", "good", "neutral")


def test_one_label_alone_stops(validated):
    outcome = validated([{**row, "label": "good"} for row in reviews(200)])
    assert outcome.failed == ["single_label"]


def test_few_rows_of_a_label_and_few_rows_at_all_stop_together(validated):
    rows = [{**row, "label": "good"} for row in reviews(60)]
    rows[0]["label"] = "bad"
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3), min_rows=100, min_rows_per_label=5)
    assert outcome.failed == ["label_balance", "label_support", "row_count"]
    assert "bad (1)" in outcome.check("label_support")["sentence"]
    assert "60 usable rows" in outcome.check("row_count")["sentence"]
    assert "1 more check stops it: label_support." in outcome.rejection.problem
    assert "1 of 2 labels has fewer than 5" in outcome.check("label_support")["sentence"]
    report = (outcome.folder / "validation.md").read_text()
    assert "**Rejected: 2 of 25 checks stop it: row_count, label_support.**" in report


def test_a_label_without_test_rows_is_noted(validated):
    test = [{**row, "label": "good"} for row in reviews(30, 3)]
    outcome = validated(reviews(200), validation=reviews(30, 2), test=test)
    assert outcome.failed == ["unmeasured_label"]


def test_repeated_rows_are_set_aside_and_are_no_defect(validated):
    rows = reviews(200)
    again = [{**row, "text": row["text"].upper()} for row in rows[:100]]
    outcome = validated(rows + again, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.failed == ["duplicate_rows"]
    assert sorted(outcome.quarantined()) == sorted(lines(range(200, 300)))
    assert outcome.dataset.rows["train"] == 200


def test_a_text_with_two_labels_is_set_aside_in_all_its_rows(validated):
    rows = reviews(200)
    other = {"good": "bad", "bad": "good"}
    rows[150] = {"text": rows[20]["text"].upper() + " ", "label": other[rows[20]["label"]]}
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.quarantined() == {
        "train.jsonl:21": ["conflicting_labels"],
        "train.jsonl:151": ["conflicting_labels"],
    }


def test_a_training_row_that_stands_in_test_goes_and_the_test_row_stays(validated):
    rows, test = reviews(200), reviews(30, 3)
    rows[10] = dict(test[4])
    rows[11] = {**test[5], "text": test[5]["text"].upper().replace(" ", "\u3000")}
    outcome = validated(rows, validation=reviews(30, 2), test=test)
    assert outcome.failed == ["leakage"]
    assert outcome.quarantined() == {row: ["leakage"] for row in lines([10, 11])}
    assert outcome.dataset.rows["test"] == 30
    details = (outcome.folder / "quarantine.jsonl").read_text()
    assert "has the text of test.jsonl:5" in details
    assert "has the text of test.jsonl:6" in details


def test_a_validation_row_that_stands_in_test_goes(validated):
    held_out, test = reviews(30, 2), reviews(30, 3)
    held_out[3] = dict(test[4])
    outcome = validated(reviews(200), validation=held_out, test=test)
    assert outcome.quarantined() == {"validation.jsonl:4": ["leakage"]}


def test_a_training_row_that_is_nearly_a_test_row_goes(validated):
    rows, test = reviews(200), reviews(30, 3)
    rows[10] = {**test[4], "text": test[4]["text"].replace(",", " !") + "."}
    rows[11] = {**test[5], "text": test[5]["text"] + "s"}
    outcome = validated(rows, validation=reviews(30, 2), test=test)
    assert outcome.failed == ["near_duplicates"]
    assert outcome.quarantined() == {row: ["near_duplicates"] for row in lines([10, 11])}
    assert outcome.dataset.rows["test"] == 30


def test_rows_are_divided_the_same_way_when_more_arrive(validated):
    rows = reviews(600)
    first, later = validated(rows[:300]), None
    before = {split: set(pq.read_table(first.dataset.split_file(split))["text"].to_pylist()) for split in SPLITS}
    later = validated(rows)
    after = {split: set(pq.read_table(later.dataset.split_file(split))["text"].to_pylist()) for split in SPLITS}
    assert all(before[split] <= after[split] for split in SPLITS)
    assert sum(later.dataset.rows.values()) == 600


def test_near_duplicates_never_straddle_the_splits_that_are_made_here(validated):
    rows = reviews(200)
    rows += [{**row, "text": row["text"] + " indeed"} for row in rows]
    outcome = validated(rows)
    assert outcome.failed == ["straddling_rows"]
    kept = {split: set(pq.read_table(outcome.dataset.split_file(split))["text"].to_pylist()) for split in SPLITS}
    for text in kept["test"]:
        twin = text.removesuffix(" indeed") if text.endswith(" indeed") else f"{text} indeed"
        assert twin not in kept["train"] | kept["validation"]


def test_too_many_rows_set_aside_stop_the_delivery(validated):
    rows = [{**row, "text": ""} if place % 10 == 0 else row for place, row in enumerate(reviews(200))]
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.failed == ["blank_text", "quarantined_share"]
    assert "20 of 200 train rows (10.0%)" in outcome.rejection.problem
    assert len(outcome.quarantined()) == 20


def test_a_severity_of_the_run_file_decides(validated):
    rows = reviews(200)
    rows[5]["text"] = ""
    rows[6]["text"] = "word " * 5000
    severity = {"blank_text": "stop", "long_text": "warn"}
    outcome = validated(rows, validation=reviews(30, 2), test=reviews(30, 3), severity=severity)
    assert outcome.rejection.problem.startswith("1 of 260 rows has no text")
    assert outcome.check("long_text")["severity"] == "warn"
    assert outcome.quarantined() == {"train.jsonl:6": ["blank_text"]}


def test_a_file_that_changed_after_it_was_found_is_not_validated(tmp_path):
    write_csv(tmp_path / "train.csv", reviews(100))
    config = run_config(tmp_path, {"train": "*.csv"})
    files = find_data(config)
    write_csv(tmp_path / "train.csv", reviews(120))
    with pytest.raises(DataError, match=r"^train.csv changed while it was read") as caught:
        validate_dataset(config, None, None, tmp_path / "validated", files=files)
    assert caught.value.hint == "run again once the delivery is complete."
    assert not isinstance(caught.value, RejectedData)
    assert not (tmp_path / "validated").exists()


def test_a_file_that_lands_after_the_files_were_found_waits_for_the_next_run(tmp_path):
    write_csv(tmp_path / "week-1.csv", reviews(100))
    config = run_config(tmp_path, {"train": "*.csv"})
    files = find_data(config)
    write_csv(tmp_path / "week-2.csv", reviews(100, 2))
    dataset = validate_dataset(config, None, None, tmp_path / "validated", files=files)
    assert dataset.source_digests == {"week-1.csv": files["train"][0].digest}


def test_a_label_may_hold_braces(validated):
    rows = [{**row, "label": "{" + row["label"] + "}"} for row in reviews(200)]
    rows[7]["label"] = "{rows}"
    outcome = validated(rows, labels=["{good}", "{bad}"])
    assert "'{rows}'; known are {bad}, {good}" in outcome.rejection.problem


def test_every_problem_with_files_is_reported_at_once_and_the_rest_is_said_not_to_be_evaluated(tmp_path):
    (tmp_path / "train.csv").write_text("sentence,sentiment\na,x\n")
    data = {"train": "train.csv", "validation": "away.csv", "test": "train.csv"}
    outcome = Validated(run_config(tmp_path, data))
    assert outcome.failed == ["readable_files"]
    assert "has no column 'text' and 'label'" in outcome.rejection.problem
    assert "There is no file" in outcome.rejection.problem
    assert "is named for train and for test" in outcome.rejection.problem
    unevaluated = [each for each in outcome.report["checks"] if "Not evaluated" in each["sentence"]]
    assert {"blank_text", "leakage", "row_count"} <= {each["name"] for each in unevaluated}
    assert all(each["errored"] and not each["passed"] for each in unevaluated)


def test_what_can_be_evaluated_without_the_test_file_is(tmp_path):
    rows = reviews(100)
    rows[7]["text"] = ""
    write_csv(tmp_path / "train.csv", rows)
    outcome = Validated(run_config(tmp_path, {"train": "train.csv", "test": "away.csv"}))
    assert outcome.failed == ["blank_text", "readable_files"]
    assert outcome.check("blank_text")["examples"] == ["train.csv:9"]
    assert "Not evaluated, because test could not be read." in outcome.check("leakage")["sentence"]


def test_own_expectations_are_evaluated_on_the_names_of_the_file(tmp_path):
    rows = [
        {"review": row["text"], "label": row["label"], "stars": str(place % 5)}
        for place, row in enumerate(reviews(200))
    ]
    rows[3]["stars"] = "9"
    rows[8]["review"] += " 4111 1111 1111 1111"
    write_csv(tmp_path / "train.csv", rows, ["review", "label", "stars"])
    expectations = [
        {"type": "expect_column_values_to_be_between", "column": "stars", "max_value": 5, "severity": "quarantine"},
        {"type": "expect_column_values_to_not_match_regex", "column": "review", "regex": r"\b\d{4} \d{4}\b"},
        {"type": "expect_column_values_to_not_be_null", "column": "absent"},
        {"type": "expect_nothing"},
        {"type": "expect_column_mean_to_be_between", "column": "stars", "max_value": 1},
        {"type": "expect_column_distinct_values_to_be_in_set", "column": "review", "value_set": ["fine"]},
    ]
    data = {"train": "train.csv", "columns": {"text": "review"}}
    outcome = Validated(run_config(tmp_path, data, expectations=expectations))
    own = [each for each in outcome.report["checks"] if each["name"].startswith("own_")]
    found = {each["name"].split("_")[1]: (each["severity"], each["errored"], each["failing"]) for each in own}
    assert found == {
        "1": ("quarantine", False, ["train.csv:5"]),
        "2": ("stop", False, ["train.csv:10"]),
        "3": ("stop", True, []),
        "4": ("stop", True, []),
        "5": ("stop", False, []),
        "6": ("stop", False, []),
    }
    assert "max_value=1); observed: 2.0" in outcome.check("own_5_column_mean_to_be_between")["sentence"]
    assert "1111" not in " ".join(each["sentence"] for each in own)  # they go to MLflow, Prefect and logs


def test_slices_travel_with_the_rows(tmp_path):
    rows = [{**row, "country": "de" if place % 2 else "fr"} for place, row in enumerate(reviews(200))]
    write_csv(tmp_path / "train.csv", rows, ["text", "label", "country"])
    outcome = Validated(run_config(tmp_path, {"train": "train.csv"}, {"slices": ["country"]}))
    train = pq.read_table(outcome.dataset.split_file("train"))
    assert set(train["country"].to_pylist()) == {"de", "fr"}


def test_pairs_are_compared_as_pairs(tmp_path):
    rows = [
        {"a": row["text"], "b": other["text"], "label": row["label"]}
        for row, other in zip(reviews(200), reviews(200, 9), strict=True)
    ]
    rows.append({**rows[0], "b": "quite another second text"})  # the same first text is no duplicate
    rows.append({**rows[1], "b": ""})
    write_csv(tmp_path / "train.csv", rows, ["a", "b", "label"])
    data = {"train": "train.csv", "columns": {"text": "a", "text_pair": "b"}}
    outcome = Validated(run_config(tmp_path, data))
    assert outcome.quarantined() == {"train.csv:203": ["blank_text"]}
    assert pq.read_table(outcome.dataset.split_file("train")).column_names == ["row_id", "text", "text_pair", "label"]


def test_the_tokenizer_counts_what_needs_several_windows_and_what_is_unknown(validated, tiny_base):
    base = BaseModel("tiny", tiny_base, "", "")
    rows = reviews(200)
    for row in rows[:50]:
        row["text"] += " long" * 100
    for row in rows:
        row["text"] += " 漢字仮名交文々" * 3
    outcome = validated(rows, base=base, validation=reviews(30, 2), test=reviews(30, 3))
    assert outcome.failed == ["unknown_tokens", "windowed_rows"]
    assert "are longer than 32 tokens and will be read in several windows" in outcome.check("windowed_rows")["sentence"]
    assert outcome.check("windowed_rows")["severity"] == "warn"
    assert "unknown to the tokenizer of 'tiny'" in outcome.rejection.problem
    assert outcome.check("windowed_rows")["rows"] == 100  # the longest of all
    assert outcome.check("windowed_rows")["examples"][0] in lines(range(50))
    assert outcome.quarantined().keys() == {
        row for row, why in outcome.quarantined().items() if "unknown_tokens" in why
    }
    assert len(outcome.quarantined()) == 100


def test_the_rows_with_the_most_unknown_tokens_are_named_first(validated, tiny_base):
    rows = reviews(200)
    for number, row in enumerate(rows):
        row["text"] += " " + "漢" * {7: 20, 9: 30}.get(number, number % 2 * 4)
    outcome = validated(rows, base=BaseModel("tiny", tiny_base, "", ""), max_unknown_token_share=0.01)
    assert outcome.check("unknown_tokens")["examples"][:2] == lines([9, 7])
    assert "worst of them. First: train.jsonl:10, train.jsonl:8, " in outcome.rejection.problem


def test_the_same_rows_have_the_same_digest_wherever_they_lie(tmp_path):
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_csv(folder / f"{name}.csv", reviews(200))
        digests.add(Validated(run_config(folder, {"train": f"{name}.csv"})).dataset.digest)
    write_csv(folder / "two.csv", [*reviews(200)[1:], {"text": "another", "label": "good"}])
    digests.add(Validated(run_config(folder, {"train": "two.csv"})).dataset.digest)
    assert len(digests) == 2


def test_csv_json_lines_and_parquet_give_the_same_rows(tmp_path):
    rows = reviews(200)
    write_csv(tmp_path / "rows.csv", rows)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    names = ("rows.csv", "rows.jsonl", "rows.parquet")
    assert len({Validated(run_config(tmp_path, {"train": name})).dataset.digest for name in names}) == 1


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path, monkeypatch):
    from components.validation import examination as validation

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(validation, "write_rows", refuse)
    write_csv(tmp_path / "train.csv", reviews(100))
    with pytest.raises(StorageError, match="full"):
        validate_dataset(run_config(tmp_path, {"train": "train.csv"}), None, None, tmp_path / "validated")
