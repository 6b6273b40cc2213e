"""Corrections that people sent as training rows: which counts, what is left out, and that frozen rows stay frozen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from components import tracking
from components.config import RunConfig
from components.data.data_files import find_data
from components.data.feedback import with_feedback
from components.errors import ConfigError, DataError, RejectedData
from components.planning import plan_run
from components.records import SPLITS, BaseModel, ValidatedDataset
from components.registry import open_store
from components.retention import find_removable, remove
from components.run_files import read_run_file
from components.settings import Settings, read_settings
from components.step_parts import Inputs, validate_step
from components.step_store import StepStore
from components.validation.examination import validate_dataset
from tests.reviews import Row, reviews, run_config, write_csv, write_jsonl

TRAIN, TEST = reviews(60, seed=1), reviews(30, seed=2)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    write_csv(tmp_path / "train.csv", TRAIN)
    write_csv(tmp_path / "test.csv", TEST)
    return read_settings({"REBERT_HOME": "home"}, tmp_path)


def config_of(home: Settings, feedback: object = True, **data: object) -> RunConfig:
    named = {"train": "train.csv", "test": "test.csv", "split": {"validation": 0.2}, "feedback": feedback, **data}
    named = {name: value for name, value in named.items() if value is not None}
    return run_config(home.home.parent, named)


def sent(home: Settings, *corrections: Row) -> Path:
    """What the endpoint has written: a correction a minute, of version 3 unless one says otherwise."""
    home.feedback.mkdir(parents=True, exist_ok=True)
    lines = [
        {"id": f"{n:016x}", "time": f"2026-11-20T10:{n:02}:00.000+00:00", "client": "shop", "version": 3, **correction}
        for n, correction in enumerate(corrections)
    ]
    return write_jsonl(home.feedback / "reviews.jsonl", lines)


def new(text: str, label: str = "good", **more: object) -> Row:
    return {"text": text, "label": label, **more}


def files_of(home: Settings, config: RunConfig) -> dict:
    return with_feedback(config, find_data(config), home)


def validated(home: Settings, config: RunConfig, champion: tuple[str, ...] | None = None) -> ValidatedDataset:
    return validate_dataset(config, None, champion, home.home / "validated", files=files_of(home, config))


def rows_of(dataset: ValidatedDataset, split: str) -> dict[str, tuple[str, str]]:
    table = pd.read_parquet(dataset.folder / f"{split}.parquet")
    return {row.text: (row.label, row.row_id) for row in table.itertuples()}


def story(dataset: ValidatedDataset) -> dict[str, dict]:
    lines = (dataset.folder / "feedback.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["row"]: line for line in map(json.loads, lines)}


def test_corrections_are_trained_on_and_say_where_they_come_from(home):
    sent(home, new("an entirely new text about the lantern"), new("and another one on sofas", "bad", version=4))
    dataset = validated(home, config_of(home))
    train = rows_of(dataset, "train")
    assert train["and another one on sofas"] == ("bad", "feedback/reviews.jsonl:2")
    assert dataset.feedback == {"used": 2}
    told = story(dataset)["feedback/reviews.jsonl:2"]
    assert (told["version"], told["time"], told["file"], told["client"], told["came_to"]) == (
        "4", "2026-11-20T10:01:00.000+00:00", "feedback/reviews.jsonl", "shop", "used",
    )  # fmt: skip
    assert "text" not in told
    report = json.loads((dataset.folder / "validation.json").read_text())
    assert report["feedback"] == {"used": 2}
    assert "Feedback: 2 rows to train on (feedback.jsonl)." in (dataset.folder / "validation.md").read_text()


def test_without_the_key_nothing_is_read(home):
    sent(home, new("an entirely new text"))
    dataset = validated(home, config_of(home, feedback=False))
    assert "an entirely new text" not in rows_of(dataset, "train")
    assert dataset.feedback == {}
    assert not (dataset.folder / "feedback.jsonl").exists()


def test_of_several_corrections_of_a_text_the_newest_counts_whatever_its_line(home):
    sent(
        home,
        new("a disputed text", "bad", time="2026-11-20T12:00:00+00:00"),
        new("A  disputed text", "good", time="2026-11-20T13:30:00+02:00"),  # 11:30 in UTC: older
        new("a disputed text", "good", time="2026-11-19T12:00:00+00:00"),
    )
    dataset = validated(home, config_of(home))
    assert rows_of(dataset, "train")["a disputed text"] == ("bad", "feedback/reviews.jsonl:1")
    assert dataset.feedback == {"used": 1, "superseded_feedback": 2}


def test_a_correction_replaces_the_label_of_a_delivered_training_row_and_only_that(home):
    plain = validated(home, config_of(home, feedback=False))
    learned = rows_of(plain, "train")
    wrong, right = list(learned)[:2]
    other = {"good": "bad", "bad": "good"}
    sent(home, new(wrong, other[learned[wrong][0]]), new(right, learned[right][0]))
    dataset = validated(home, config_of(home))
    train = rows_of(dataset, "train")
    assert train[wrong] == (other[learned[wrong][0]], "feedback/reviews.jsonl:1")
    assert train[right] == learned[right]  # it says the same: the delivered row stays
    assert len(train) == len(learned)
    assert dataset.feedback == {"used": 1, "duplicate_rows": 1, "corrected_rows": 1}
    assert story(dataset)["feedback/reviews.jsonl:1"]["replaces"] == [learned[wrong][1]]


@pytest.mark.parametrize("named", ["test.csv", None])  # delivered, or a share of train
def test_frozen_and_validation_rows_never_change_by_what_people_send(home, named):
    config = config_of(home, feedback=False, test=named, split={"validation": 0.2, "test": 0.2})
    plain = validated(home, config)
    before = {split: rows_of(plain, split) for split in ("validation", "test")}
    held_out = [text for split in before.values() for text in split]
    fresh = [f"fresh {row['text']}"[:40] + str(n) for n, row in enumerate(reviews(40, seed=9))]
    sent(home, *(new(text.upper(), "bad") for text in held_out), *(new(text, "good") for text in fresh))
    dataset = validated(home, config_of(home, test=named, split={"validation": 0.2, "test": 0.2}))
    assert {split: rows_of(dataset, split) for split in ("validation", "test")} == before
    assert dataset.feedback["held_out_feedback"] == len(held_out)
    assert dataset.feedback["used"] + dataset.feedback.get("straddling_rows", 0) + dataset.feedback.get(
        "near_duplicates", 0
    ) == len(fresh)
    assert dataset.feedback["used"] > 30
    assert {text.casefold() for text in rows_of(dataset, "train")} & {text.casefold() for text in held_out} == set()


def test_nearly_a_frozen_text_is_left_out_too(home):
    text = TEST[0]["text"]
    sent(home, new(f"{text}!", "bad"), new("something else altogether"))
    dataset = validated(home, config_of(home))
    assert dataset.feedback == {"used": 1, "near_duplicates": 1}


def test_what_is_left_out_for_these_reasons_does_not_count_as_a_bad_delivery(home):
    sent(home, *(new(row["text"], "bad") for row in TEST))
    assert validated(home, config_of(home)).feedback == {"used": 0, "held_out_feedback": len(TEST)}


def test_an_unknown_label_is_stopped_and_a_blank_text_set_aside_like_in_any_file(home):
    sent(home, new("a text of a strange kind", "strange"))
    with pytest.raises(RejectedData, match=r"label that is not known.*feedback/reviews\.jsonl:1"):
        validated(home, config_of(home), champion=("bad", "good"))
    sent(home, new(" "), new("one that is whole"))
    assert validated(home, config_of(home)).feedback == {"used": 1, "blank_text": 1}


def test_a_line_that_a_crash_has_left_is_set_aside_and_one_being_written_is_not_read(home):
    path = sent(home, new("one that is whole"))
    with path.open("a") as file:
        file.write('{"text": "half a li\n' + '{"text": "still being wr')
    assert validated(home, config_of(home)).feedback == {"used": 1, "unreadable": 1}


def test_a_table_that_people_fill_in_is_feedback_too_and_empty_cells_wait(home):
    write_csv(home.home.parent / "labelled.csv", [new("filled in", "bad"), new("not yet", ""), new("nor this", " ")])
    dataset = validated(home, config_of(home, feedback="labelled.csv"))
    assert dataset.feedback == {"used": 1, "unlabelled": 2}
    assert rows_of(dataset, "train")["filled in"] == ("bad", "labelled.csv:2")


def test_corrections_have_our_names_whatever_the_data_files_call_their_columns(home):
    folder = home.home.parent
    pd.DataFrame(TRAIN).rename(columns={"text": "review", "label": "mood"}).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(TEST).rename(columns={"text": "review", "label": "mood"}).to_csv(folder / "test.csv", index=False)
    sent(home, new("one that is whole"))
    expectation = {"type": "expect_column_values_to_not_be_null", "column": "review"}
    config = run_config(
        folder,
        {
            "train": "train.csv",
            "test": "test.csv",
            "split": {"validation": 0.2},
            "feedback": True,
            "columns": {"text": "review", "label": "mood"},
        },
        expectations=[expectation],
    )
    assert validated(home, config).feedback == {"used": 1}


def test_what_is_sent_while_a_run_is_at_work_is_the_next_runs(home):
    path = sent(home, new("one that is whole"))
    config = config_of(home)
    files = files_of(home, config)
    with path.open("a") as file:
        file.write(json.dumps(new("sent meanwhile")) + "\n")
    dataset = validate_dataset(config, None, None, home.home / "validated", files=files)
    assert dataset.feedback == {"used": 1}
    copy = files["train"][-1].path
    assert copy.stat().st_mode & 0o077 == 0  # nobody else may read what people wrote
    assert files_of(home, config)["train"][-1].path != copy


def test_of_a_day_only_what_had_been_sent_by_then(home):
    sent(home, new("old", time="2026-11-18T23:00:00Z"), new("later", "bad", time="2026-11-19T00:30:00Z"))
    config = config_of(home, dated_by="modified", as_of="2026-11-18")
    files = {split: tuple(find_data(config_of(home))[split]) for split in ("train", "test")}
    files = with_feedback(config, files, home)
    assert validate_dataset(config, None, None, home.home / "v", files=files).feedback == {"used": 1}


def test_a_file_may_not_be_data_and_feedback(home):
    with pytest.raises(DataError, match=r"train\.csv is named as data and as data\.feedback"):
        files_of(home, config_of(home, feedback="train.csv"))


def test_several_labels_and_entities_are_corrected_too(home):
    folder = home.home.parent
    rows = [{"text": row["text"], "labels": [row["label"]]} for row in TRAIN]
    write_jsonl(folder / "train.jsonl", rows)
    sent(home, {"text": rows[0]["text"], "labels": ["good", "bad"]}, {"text": "nothing of it", "labels": []})
    config = config_of(home, train="train.jsonl", test=None, split={"validation": 0.2, "test": 0.2})
    config = RunConfig.model_validate({**config.model_dump(), "folder": folder, "task_type": "multi_label"})
    dataset = validated(home, config)
    assert dataset.feedback["used"] + dataset.feedback.get("held_out_feedback", 0) == 2
    assert rows_of(dataset, "train")["nothing of it"][0] == "[]"


def test_a_question_about_a_held_out_passage_is_left_out_with_it(home):
    folder = home.home.parent
    rows = [
        {"question": f"Which noun is in {n}?", "context": row["text"], "answers": {"text": [], "answer_start": []}}
        for n, row in enumerate(TRAIN)
    ]
    write_jsonl(folder / "train.jsonl", rows)
    shares = {"train": "train.jsonl", "test": None, "split": {"validation": 0.2, "test": 0.3}}
    content = {**config_of(home, feedback=False, **shares).model_dump(), "task_type": "question_answering"}
    content["folder"] = folder
    plain = validated(home, RunConfig.model_validate(content))
    passages = set(pd.read_parquet(plain.split_file("test"))["context"])
    empty = {"text": [], "answer_start": []}
    sent(home, *({"question": "What else?", "context": row["text"], "answers": empty} for row in TRAIN))
    content["data"] = config_of(home, **shares).model_dump()["data"]
    dataset = validated(home, RunConfig.model_validate(content))
    assert set(pd.read_parquet(dataset.split_file("test"))["context"]) == passages
    assert set(pd.read_parquet(dataset.split_file("train"))["context"]) & passages == set()
    assert dataset.feedback["used"] > 20


def inputs_of(home: Settings, config: RunConfig) -> Inputs:
    base = BaseModel("tiny", home.home, "base", "tokenizer")
    return Inputs(config, files_of(home, config), base, champion=None, rolled_back={}, hardware="cpu fp32")


def test_another_correction_is_another_delivery_and_the_plan_says_so(home):
    config, store = config_of(home), StepStore(home.steps)
    assert plan_run(inputs_of(home, config), store).feedback == "Feedback: none has been sent yet."
    sent(home, new("one that is whole"))
    first = inputs_of(home, config)
    assert plan_run(first, store).feedback == "Feedback to validate: feedback/reviews.jsonl."
    step = validate_step(first)
    store.run(step, lambda folder: validate_dataset(config, None, None, folder, files=first.files))
    assert validate_step(inputs_of(home, config)).digest == step.digest
    assert plan_run(first, store).feedback == "Feedback: 1 row to train on."
    sent(home, new("one that is whole"), new("and one more", "bad"))
    plan = plan_run(inputs_of(home, config), store)
    assert plan.unchanged is None
    assert (plan.steps[0].action, plan.steps[0].reason) == ("run", "changed: data.feedback")


def test_a_type_that_learns_from_no_answers_takes_no_feedback(tmp_path):
    for task_type in ("fill_mask", "zero_shot"):
        (tmp_path / "run.yaml").write_text(
            f"{{name: shop, task_type: {task_type}, data: {{train: a.csv, feedback: true}}, model: {{base: x}}}}"
        )
        with pytest.raises(ConfigError, match=rf"data\.feedback: {task_type} learns from no true answers"):
            read_run_file(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("true", True), ("more.csv", ("more.csv",)), ("[a.csv, b.jsonl]", ("a.csv", "b.jsonl")), ("false", False)],
)
def test_the_key_is_true_or_paths(tmp_path, word, meant):
    (tmp_path / "run.yaml").write_text(f"{{name: shop, data: {{train: a.csv, feedback: {word}}}, model: {{base: x}}}}")
    assert read_run_file(tmp_path / "run.yaml").data.feedback == meant


@pytest.mark.parametrize("word", ["5", "[]", "{a: b}", "[1]"])
def test_anything_else_is_told_once(tmp_path, word):
    (tmp_path / "run.yaml").write_text(f"{{name: shop, data: {{train: a.csv, feedback: {word}}}, model: {{base: x}}}}")
    with pytest.raises(
        ConfigError, match=r"data\.feedback: write true, false, a path, or a list of paths, not"
    ) as told:
        read_run_file(tmp_path / "run.yaml")
    assert "\n" not in told.value.problem


def test_mlflow_names_the_corrections_among_the_inputs(home, settings):
    sent(home, new("one that is whole"), new("one that is whole", "bad"))
    dataset = validated(home, config_of(home))
    client = open_store(settings)
    run_id = client.create_run(client.create_experiment("reviews")).info.run_id
    tracking.log_dataset(settings, run_id, dataset)
    named = {each.dataset.name: each.dataset for each in client.get_run(run_id).inputs.dataset_inputs}
    assert json.loads(named["feedback"].profile) == {"num_rows": 1, "used": 1, "superseded_feedback": 1}
    assert list(json.loads(named["feedback"].source)["files"]) == ["feedback/reviews.jsonl"]
    assert "validation/feedback.jsonl" in {file.path for file in client.list_artifacts(run_id, "validation")}
    base = SimpleNamespace(spec="tiny")
    assert tracking.run_params(config_of(home), dataset, base)["data.feedback_rows"] == 1
    plain = replace(dataset, feedback={})
    assert "data.feedback_rows" not in tracking.run_params(config_of(home), plain, base)


def test_old_copies_go_and_what_was_sent_stays(home, settings):
    settings = replace(home, tracking_uri=settings.tracking_uri)
    for count in (1, 2, 3):
        path = sent(home, *(new(f"a text of its own {n}") for n in range(count)))
        files_of(home, config_of(home))
    found = [each for each in find_removable(settings, "reviews", 2) if each.kind == "feedback"]
    remove(settings, found)
    assert len(list((home.feedback / "snapshots" / "reviews").iterdir())) == 2
    assert path.exists()


def test_every_split_is_still_written(home):
    sent(home, new("one that is whole"))
    dataset = validated(home, config_of(home))
    assert all(dataset.rows[split] for split in SPLITS)
