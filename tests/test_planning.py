"""A step is found again exactly as long as nothing that its files hold, or that made them, is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.data.data_files import find_data
from components.digests import digest_code
from components.planning import find_validated, plan_run
from components.records import SPLITS, BaseModel, EvaluationReport, TokenizedDataset, ValidatedDataset
from components.step_parts import (
    Champion,
    Inputs,
    decide_step,
    evaluate_step,
    tokenize_step,
    train_step,
    validate_step,
)
from components.step_store import Step, StepStore
from tests.reviews import reviews, run_config, write_csv

TASK_TYPE = "components.task_types.text_classification"
LABELS = ("bad", "good")


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    write_csv(tmp_path / "train.csv", reviews(20))
    config = run_config(tmp_path, {"train": "train.*"})
    base = BaseModel("tiny", tmp_path, "base", "tokenizer")
    return Inputs(config, find_data(config), base, champion=None, rolled_back={}, hardware="cpu fp32")


@pytest.fixture
def dataset(tmp_path: Path) -> ValidatedDataset:
    for split in SPLITS:
        (tmp_path / f"{split}.parquet").write_text(split)
    return ValidatedDataset(tmp_path, "rows", dict.fromkeys(SPLITS, 20), LABELS, 0, {}, ())


@pytest.fixture
def tokens(tmp_path: Path) -> TokenizedDataset:
    return TokenizedDataset(tmp_path, "numbers", {}, {}, {}, {}, {}, 32)


def with_config(inputs: Inputs, section: str, **changes: object) -> Inputs:
    content = inputs.config.model_dump(mode="json")
    content[section] = {**content[section], **changes}
    return replace(inputs, config=type(inputs.config)(**content, folder=inputs.config.folder))


def changed(before: Step, after: Step) -> list[str]:
    """Names of the parts that differ."""
    return sorted(name for name in before.parts.keys() | after.parts if before.parts.get(name) != after.parts.get(name))


def test_a_renamed_label_is_another_model_though_its_tokens_are_the_same(inputs, dataset, tokens):
    renamed = replace(dataset, labels=("awful", "good"))
    assert changed(train_step(inputs, dataset, tokens), train_step(inputs, renamed, tokens)) == ["labels"]


def test_another_longest_input_is_another_model_though_no_text_is_cut(inputs, dataset, tokens):
    longer = with_config(inputs, "model", max_length=64)
    assert changed(train_step(inputs, dataset, tokens), train_step(longer, dataset, tokens)) == ["model.max_length"]


def test_golden_rows_come_from_the_validation_rows(inputs, dataset, tokens):
    before = train_step(inputs, dataset, tokens)
    dataset.split_file("validation").write_text("other words, the same tokens")
    assert changed(before, train_step(inputs, dataset, tokens)) == ["validation rows"]
    dataset.split_file("test").write_text("frozen rows train nothing")
    assert changed(before, train_step(inputs, dataset, tokens)) == ["validation rows"]


def test_the_hardware_counts_and_not_how_it_was_asked_for(inputs, dataset, tokens):
    before = train_step(inputs, dataset, tokens)
    named = with_config(inputs, "training", device="cpu", precision="fp32", max_hours=1)
    assert changed(before, train_step(named, dataset, tokens)) == []
    assert changed(before, train_step(replace(inputs, hardware="cuda bf16"), dataset, tokens)) == ["hardware"]


@pytest.mark.parametrize(
    ("module", "make"),
    [
        ("components.validation.examination", lambda inputs, *_: validate_step(inputs)),
        ("components.training.tokenization", lambda inputs, dataset, _: tokenize_step(inputs, dataset)),
        ("components.training.fine_tuning", train_step),
        ("components.reports.evaluation", lambda inputs, dataset, _: evaluate_step(inputs, dataset, "model")),
        ("components.reports.promotion", lambda inputs, *_: decide_step(inputs, report(), None)),
    ],
)
def test_every_steps_code_includes_the_task_type_which_nothing_imports(module, make, inputs, dataset, tokens):
    assert make(inputs, dataset, tokens).parts["code"] == digest_code(module, TASK_TYPE) != digest_code(module)


def report(digest: str = "answers") -> EvaluationReport:
    return EvaluationReport(Path(), digest, "model", "rows", "text_classification", 20, "accuracy", {}, {})


def test_a_decision_sees_which_slices_are_judged(inputs):
    strict = with_config(inputs, "evaluation", min_slice_rows=5)
    assert changed(decide_step(inputs, report(), None), decide_step(strict, report(), None)) == ["evaluation"]
    assert changed(decide_step(inputs, report(), None), decide_step(inputs, report("b"), None)) == ["candidate"]


def test_validation_sees_content_and_ending_and_not_the_name(inputs, tmp_path):
    before = validate_step(inputs)

    def renamed(name: str) -> Step:
        next(tmp_path.glob("train.*")).rename(tmp_path / name)
        return validate_step(replace(inputs, files=find_data(inputs.config)))

    assert changed(before, renamed("train.march.csv")) == []
    assert changed(before, renamed("train.tsv")) == ["data.train"]
    write_csv(tmp_path / "train.tsv", reviews(21))
    assert changed(before, validate_step(inputs)) == []  # what was found at the start counts, not what lies there now


@pytest.mark.parametrize(
    ("make", "libraries"),
    [
        (lambda inputs, *_: validate_step(inputs), {"great-expectations", "pandas", "pyarrow", "transformers"}),
        (lambda inputs, dataset, _: tokenize_step(inputs, dataset), {"pyarrow", "tokenizers"}),
        (lambda inputs, dataset, _: evaluate_step(inputs, dataset, "model"), {"numpy", "scipy", "scikit-learn"}),
        (lambda inputs, *_: decide_step(inputs, report(), None), {"numpy", "scipy"}),
    ],
)
def test_the_libraries_that_compute_are_part_of_a_step(make, libraries, inputs, dataset, tokens):
    named = make(inputs, dataset, tokens).parts["libraries"].split(", ")
    assert libraries <= {entry.split()[0] for entry in named}


def test_the_first_champions_own_validation_is_found_again(inputs, dataset, tmp_path):
    store = StepStore(tmp_path / "steps")
    store.run(validate_step(inputs), lambda folder: dataset)
    champion = Champion(1, "run", "digest", LABELS, tmp_path)
    assert find_validated(replace(inputs, champion=champion), store) == dataset
    assert find_validated(replace(inputs, champion=replace(champion, labels=("a", "b"))), store) is None


def test_a_plan_names_what_changed_and_what_follows(inputs, dataset, tokens, tmp_path):
    store = StepStore(tmp_path / "steps")
    store.run(validate_step(inputs), lambda folder: dataset)
    store.run(tokenize_step(inputs, dataset), lambda folder: tokens)
    plan = plan_run(inputs, store)
    assert [(step.name, step.action, step.reason) for step in plan.steps[:4]] == [
        ("validate", "reuse", "done before"),
        ("tokenize", "reuse", "done before"),
        ("fine_tune", "run", "never done before"),
        ("evaluate", "run", "follows fine_tune"),
    ]
    longer = plan_run(with_config(inputs, "model", max_length=64), store)
    assert (longer.steps[0].action, longer.steps[0].reason) == ("run", "changed: model.max_length")
