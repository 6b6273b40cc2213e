"""A run file is read whole or not at all; everything that is wrong with it is said at once, with its lines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from components.config import RunConfig
from components.errors import ConfigError
from components.run_file_schema import run_file_schema
from components.run_files import read_run_file
from components.task_types import find_task_type, task_type_names

SMALLEST = "name: reviews\ndata:\n  train: train.csv\nmodel:\n  base: tiny\n"


@pytest.fixture
def run_file(tmp_path):
    def write(content):
        path = tmp_path / "reviews.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problem_of(path):
    with pytest.raises(ConfigError) as caught:
        read_run_file(path)
    return caught.value.problem.replace(str(path), "FILE")


def test_the_smallest_run_file_has_defaults_for_the_rest(run_file):
    path = run_file(SMALLEST)
    config = read_run_file(path)
    assert config.data.train == ("train.csv",)
    assert config.folder == path.parent.resolve()
    assert config.gate.confidence == 0.95


def test_every_bad_key_is_listed_at_once(run_file):
    text = """
name: Bad Name
data:
  trian: train.csv
  labels: []
model:
  base: tiny
  max_length: long
training:
  epoch: 3
  batch_size: 0
""".lstrip()
    lines = problem_of(run_file(text)).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "FILE:1",
        "FILE:2",
        "FILE:3",
        "FILE:4",
        "FILE:7",
        "FILE:9",
        "FILE:10",
    ]
    assert "the key 'data.train' is missing" in lines[1]
    assert "unknown key 'data.trian'; did you mean 'train'?" in lines[2]
    assert "not 'long'" in lines[4]
    assert "unknown key 'training.epoch'; did you mean 'epochs'?" in lines[5]
    assert "training.batch_size" in lines[6]


def test_names_of_checks_expectations_and_the_task_type_are_checked_with_all_the_rest(run_file):
    text = """
name: reviews
task_type: text_classificaton
data: {train: train.csv}
model: {base: tiny, max_length: long}
validation:
  severity:
    blank_texts: stop
    row_count: quarantine
    leakage: stop
    unknown_label: stopp
  expectations:
    - {type: expect_column_to_exist, column: text}
    - {type: expect_column_too_exist, column: text}
""".lstrip()
    assert problem_of(run_file(text)).splitlines() == [
        f"FILE:2: task_type: there is no 'text_classificaton'; known are {', '.join(task_type_names())}",
        "FILE:4: model.max_length: input should be a valid integer, unable to parse string as an integer, not 'long'",
        "FILE:7: validation.severity.blank_texts: there is no check 'blank_texts'; did you mean 'blank_text'?",
        "FILE:8: validation.severity.row_count: 'row_count' may be stop or warn, not quarantine",
        "FILE:10: validation.severity.unknown_label: input should be 'stop', 'quarantine' or 'warn', not 'stopp'",
        "FILE:13: validation.expectations.1.type: Great Expectations knows no 'expect_column_too_exist'; "
        "did you mean 'expect_column_to_exist'?",
    ]


def test_names_are_checked_without_great_expectations(run_file):
    code = "import sys; from pathlib import Path; from components.run_files import read_run_file\n"
    code += "try: read_run_file(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__)\n"
    code += "print('great_expectations' in sys.modules)"
    path = run_file(SMALLEST + "validation: {expectations: [{type: expect_nothing}]}\n")
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["ConfigError", "False"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("[good, bad, good]", "FILE:4: data.labels: 'good' stands there more than once"),
        ("[good, ' ', bad, '']", "FILE:4: data.labels: ' ', '' is blank"),
    ],
)
def test_labels_that_are_no_labels_are_refused(run_file, labels, said):
    text = SMALLEST.replace("train.csv\n", f"train.csv\n  labels: {labels}\n")
    assert problem_of(run_file(text)) == said


def test_the_hint_says_how_many_keys_are_to_be_mended(run_file):
    with pytest.raises(ConfigError) as caught:
        read_run_file(run_file(SMALLEST + "gates: 1\nevaluating: 2\n"))
    assert caught.value.hint.startswith("correct these 2 keys")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "FILE holds no settings."),
        (b"- a\n- b\n", "FILE holds no settings."),
        (b"name: caf\xe9\n", "FILE is not UTF-8 (byte 9)."),
        (b"name: [a\nb: c\n", "FILE:2: not valid YAML"),
        (b"name: a\nname: b\n", "the key 'name' stands there twice, first in line 1"),
        (b"name: a\n\tdata: b\n", "FILE:2: not valid YAML"),
        ((SMALLEST + "folder: /tmp\n").encode(), "FILE:6: unknown key 'folder'"),
        ((SMALLEST + "data2: *nothing\n").encode(), "not valid YAML: found undefined alias"),
        (b"a: !!python/object/apply:os.system [ls]\n", "FILE:1: not valid YAML: could not determine a constructor"),
        (b"[a, b]: c\n", "FILE:1: not valid YAML: found unhashable key"),
        (b"a: 2026-02-31\n", "FILE is not valid YAML: day is out of range for month."),
        (b"a: \x00\n", "FILE is not valid YAML"),
        (b"[" * 5000, "FILE is not valid YAML"),
    ],
)
def test_a_file_that_is_no_run_file_says_why(run_file, content, said):
    assert said in problem_of(run_file(content))


def test_a_missing_file_is_an_error_with_a_way_on(tmp_path):
    with pytest.raises(ConfigError, match="There is no run file") as caught:
        read_run_file(tmp_path / "away.yaml")
    assert "rebert init" in caught.value.hint


def test_shares_that_leave_no_training_rows_are_refused(run_file):
    text = SMALLEST.replace("train.csv\n", "train.csv\n  split: {validation: 0.5, test: 0.4}\n")
    assert "leave less than 20 % of the rows for training" in problem_of(run_file(text))


def test_own_expectations_keep_their_arguments(run_file):
    own = "{type: expect_column_max_to_be_between, column: text, max_value: 5}"
    text = SMALLEST + f"validation: {{expectations: [{own}]}}\n"
    (own,) = read_run_file(run_file(text)).validation.expectations
    assert own.model_extra == {"column": "text", "max_value": 5}


def test_every_key_has_a_description_and_the_schema_names_it():
    def check(section):
        for name, field in section.model_fields.items():
            assert field.description, name
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                check(field.annotation)

    check(RunConfig)
    assert "folder" not in run_file_schema()["properties"]


def test_what_the_task_type_does_not_know_is_listed_with_its_line(run_file):
    text = SMALLEST.replace("  train: train.csv\n", "  train: train.csv\n  columns:\n    text: a\n    txt: b\n")
    text += "task:\n  threshold: 0.5\nevaluation:\n  metric: accuarcy\n"
    assert problem_of(run_file(text)).splitlines() == [
        "FILE:6: data.columns: text_classification has no column 'txt'; known are text, text_pair, label",
        "FILE:10: unknown key 'task.threshold'; known here: pooling",
        "FILE:12: evaluation.metric: text_classification has no 'accuarcy'; "
        "known are accuracy, macro_f1, micro_f1, weighted_f1, mcc",
    ]


def test_a_task_type_of_no_known_name_is_the_only_complaint_about_it(run_file):
    text = SMALLEST + "task_type: parsing\ntask: {depth: 3}\nevaluation: {metric: las}\n"
    assert problem_of(run_file(text)).startswith("FILE:6: task_type: there is no 'parsing'; known are ")
    assert len(problem_of(run_file(text)).splitlines()) == 1


def test_the_schema_names_task_types_columns_metrics_and_checks():
    schema = run_file_schema()
    parts = schema["$defs"]
    assert schema["properties"]["task_type"]["enum"] == task_type_names()
    assert (
        "text_classification (optional)"
        in parts["Data"]["properties"]["columns"]["properties"]["text_pair"]["description"]
    )
    assert "macro_f1" in parts["Evaluation"]["properties"]["metric"]["enum"]
    assert "windowed_rows" in parts["Validation"]["properties"]["severity"]["propertyNames"]["enum"]


def test_a_bad_run_file_is_refused_without_heavy_imports(run_file):
    code = "import sys; from pathlib import Path; from components.run_files import read_run_file\n"
    code += "try: read_run_file(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__)\n"
    code += "print(*{'torch', 'scipy', 'mlflow', 'transformers', 'pyarrow', 'pandas'} & set(sys.modules))"
    path = run_file(SMALLEST + "evaluation: {metric: accuarcy}\n")
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["ConfigError"]


@pytest.mark.parametrize(
    ("task_type", "more", "said"),
    [
        ("question_answering", "training: {class_weights: balanced}", "does not weigh labels; leave the key out"),
        (
            "question_answering",
            "task: {n_best: 0}",
            "FILE:7: task.n_best: input should be greater than or equal to 1, not 0",
        ),
        ("question_answering", "task: {best: 3}", "unknown key 'task.best'; did you mean 'n_best'?"),
        ("regression", "training: {warmup_share: 1.0}", "FILE:7: training.warmup_share: input should be less than 1"),
        ("regression", "task: {low: 3, high: 2}", "FILE:7: task: low must be less than high"),
        ("regression", "validation: {severity: {label_balance: warn}}", "there is no check 'label_balance'"),
        ("multi_label", "validation: {severity: {broken_labels: warn}}", "may be stop or quarantine, not warn"),
        ("fill_mask", "evaluation: {metric: accuracy}", "fill_mask has no 'accuracy'; known are "),
    ],
)
def test_what_only_its_task_type_can_judge_is_judged_by_it(run_file, task_type, more, said):
    assert said in problem_of(run_file(f"{SMALLEST}task_type: {task_type}\n{more}\n"))


def test_a_type_without_labels_refuses_a_list_of_them(run_file):
    text = SMALLEST.replace("train.csv\n", "train.csv\n  labels: [a, b]\n") + "task_type: regression\n"
    assert problem_of(run_file(text)) == "FILE:4: data.labels: regression has no set of labels; leave the key out"


@pytest.mark.parametrize("task_type", task_type_names())
def test_the_metric_and_the_settings_of_the_task_type_are_filled_in(run_file, task_type):
    config = read_run_file(run_file(f"{SMALLEST}task_type: {task_type}\nevaluation: {{min_slice_rows: 5}}\n"))
    known = find_task_type(task_type)
    assert config.evaluation.metric == known.metric_names[0]
    assert config.evaluation.min_slice_rows == 5
    assert set(config.task) == set(known.settings.model_fields)
