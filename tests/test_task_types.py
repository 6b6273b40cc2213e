"""What every task type must keep, run over the folder: a new type is tested by being there."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from components.models.golden import EVERYTHING, check_model, distance, shown
from components.models.inference import TOLERANCE, Predictor
from components.models.prediction import predict_file
from components.models.pyfunc import _load_pyfunc
from components.monitoring.measuring import Meter
from components.task_types import task_type_names
from service.application import Application
from service.schemas import find_speech, speech_names
from tests.bundles import build_source, tiny_config
from tests.model_folders import build_model

# Words, Chinese, full-width, emoji outside the BMP, mixed scripts, signs alone, and what is far beyond one window.
PIPELINES = (  # tasks of the Hugging Face hub
    *("text-classification", "token-classification", "question-answering", "fill-mask", "zero-shot-classification"),
)
PIECES = (
    "Where is my card?",
    "酒店的服务很好，位置也不错。",
    "Ｆｕｌｌ－ｗｉｄｔｈ　ｔｅｘｔ",
    "👍🏽 great 👨‍👩‍👧 food 𝒜",
    "I paid 20€ in 北京 for iPhone15手机",
    "?!",
    "word " * 300,
    "很好" * 200,
)


@pytest.fixture(scope="module", params=task_type_names())
def model(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("types")
    return build_model(folder / "model", tiny_base, task_type=request.param)


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor.load(model)


@pytest.fixture(scope="module")
def rows(predictor: Predictor) -> list[dict[str, str]]:
    return rows_for(predictor)


def rows_for(predictor: Predictor) -> list[dict[str, str]]:
    """Rows of the type's own texts: its example, and each piece in the place of the longest text."""
    example = find_speech(predictor.task_type.name).example
    names = [name for name in predictor.task_type.texts if name != "text_pair"]
    longest = names[-1]
    base = {name: str(example[name]) for name in names}
    return [base, *({**base, longest: piece + ("" if len(names) > 1 else marks(predictor))} for piece in PIECES)]


@pytest.fixture(scope="module")
def scored(predictor: Predictor, rows) -> list[dict[str, str]]:
    """Rows as an evaluation has them: without the marks that ask for a filling."""
    mark = marks(predictor)
    return [{name: text.removesuffix(mark) for name, text in row.items()} for row in rows[1 if mark else 0 :]]


def marks(predictor: Predictor) -> str:
    return f" {predictor.tokenizer.mask_token}." if predictor.task_type.name == "fill_mask" else ""


def test_every_type_speaks():
    assert speech_names() == task_type_names()


# Where a type may be named beside its own files, and why.
NAMED = {
    "components/config.py": "the default of task_type",
    "components/pretraining/pretraining.py": "a pretrained model fills masks",
    "components/pretraining_config.py": "a pretrained model fills masks",
    "components/prompts/label_prompts.py": "multi_label is a field of a request",
    "components/sequences/sequence_network.py": "regression is a problem type of transformers",
}


def test_nobody_else_asks_which_type_it_is():
    root = Path(__file__).resolve().parent.parent
    own = [root / "components" / "task_types", root / "service" / "schemas"]
    named = {
        path.relative_to(root).as_posix()
        for folder in ("components", "flows", "service")
        for path in (root / folder).rglob("*.py")
        if path.parent not in own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in task_type_names()
    }
    assert named == set(NAMED)


def test_a_type_says_what_it_is(predictor: Predictor):
    kind = predictor.task_type
    assert kind.purpose.endswith(".")
    assert kind.limits.endswith(".")
    assert kind.hub_task in PIPELINES
    assert kind.metric_names
    assert set(kind.shares) <= set(kind.metric_names)
    assert all(column.role for form in kind.forms for column in form)
    assert kind.settings().model_dump() == kind.settings.model_validate({}).model_dump()


@pytest.mark.parametrize("seed", range(3))
def test_a_row_gets_the_same_answer_alone_in_a_batch_and_in_any_order(predictor: Predictor, rows, seed: int):
    together = shown(predictor, predictor.predict(rows))
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    shuffled = shown(predictor, predictor.predict([rows[index] for index in order]))
    alone = [shown(predictor, predictor.predict([row]))[0] for row in rows] if seed == 0 else together
    for place, index in enumerate(order):
        assert distance(together[index], shuffled[place]) <= TOLERANCE
        assert distance(together[index], alone[index]) <= TOLERANCE


def test_its_golden_rows_hold(predictor: Predictor, model: Path):
    assert check_model(predictor, model) <= TOLERANCE


def test_an_answer_is_json_and_has_the_shape_that_the_endpoint_documents(predictor: Predictor, rows):
    speech = find_speech(predictor.task_type.name)
    for answer in predictor.predict(rows):
        for top_k in (1, EVERYTHING):
            presented = json.loads(json.dumps(predictor.task_type.present(answer, top_k)))
            assert set(presented) == set(speech.prediction.model_fields)
            speech.prediction.model_validate(presented)


def test_mlflow_and_the_command_line_give_the_models_answers(predictor: Predictor, model: Path, rows, tmp_path: Path):
    expected = [predictor.task_type.present(answer, 3) for answer in predictor.predict(rows)]
    from_mlflow = _load_pyfunc(str(model)).predict(pd.DataFrame(rows)).to_dict("records")
    source, target = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert predict_file(model, source, target, {}) == len(rows)
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    for answer, ours, line in zip(expected, from_mlflow, lines, strict=True):
        assert line["problem"] is None
        own = {name: value for name, value in line.items() if name not in ("row", "problem")}
        assert distance(plain(answer), plain(own)) <= TOLERANCE
        assert distance(plain(answer), plain(ours)) <= TOLERANCE


def test_the_endpoint_gives_the_models_answers(predictor: Predictor, model: Path, rows, tmp_path: Path):
    source = build_source(tmp_path, model, tiny_config(top_k=3, max_texts=64))
    expected = [predictor.task_type.present(answer, 3) for answer in predictor.predict(rows)]
    many = predictor.task_type.many
    with TestClient(Application(source)) as client:
        items = [next(iter(row.values())) if len(row) == 1 else row for row in rows]
        together = client.post("/predict", json={many: items}).json()["predictions"]
        alone = client.post("/predict", json=rows[0]).json()["predictions"]
        document = client.get("/openapi.json").json()
        assert client.get("/model").json()["inputs"] == list(rows[0])
    for answer, found in zip([*expected, expected[0]], [*together, *alone], strict=True):
        assert distance(plain(answer), found) <= TOLERANCE
    assert many in document["components"]["schemas"]["SeveralRows"]["properties"]


def test_the_endpoint_takes_every_option_of_the_type(predictor: Predictor, model: Path, rows, tmp_path: Path):
    speech = find_speech(predictor.task_type.name)
    options = {name: speech.example[name] for name in speech.options if name in speech.example}
    with TestClient(Application(build_source(tmp_path, model, tiny_config(top_k=3, max_texts=64)))) as client:
        answer = client.post("/predict", json={**rows[0], **options})
        document = client.get("/openapi.json").json()
    assert answer.status_code == 200, answer.text
    expected = predictor.task_type.present(predictor.predict([{**rows[0], **options}])[0], 3)
    assert distance(plain(expected), answer.json()["predictions"][0]) <= TOLERANCE
    assert set(speech.options) <= set(document["components"]["schemas"]["OneRow"]["properties"])


def test_a_request_costs_what_its_rows_cost(predictor: Predictor, rows):
    kind, spec = predictor.task_type, predictor.spec
    assert kind.cost([], spec) == 0
    assert 0 < kind.cost(rows[:1], spec) < kind.cost(rows, spec)
    assert kind.cost(rows, spec) >= sum(len(text) for row in rows for text in row.values())


def test_the_scores_follow_from_what_was_said(predictor: Predictor, scored):
    """The gate compares strings: the metric of all rows must come out of them, and be what the report says."""
    kind = predictor.task_type
    answers = predictor.predict(scored)
    said = [kind.said(answer) for answer in answers]
    truths = [as_truth(kind.name, other) for other in [*said[1:], said[0]]]
    metrics = kind.metrics(truths, answers, predictor.spec)
    ones = np.ones((1, len(scored)))
    for name in kind.metric_names:
        assert kind.statistic(name, truths, said)(ones)[0] == pytest.approx(metrics[name], abs=1e-6), name
    if kind.name != "fill_mask":
        assert (kind.quality([as_truth(kind.name, answer) for answer in said], said) == 1).all()
    quality = kind.quality(truths, said)
    assert quality.shape == (len(scored),)
    assert quality.max() <= 1
    assert all(isinstance(kind.confidence(answer), float) for answer in answers)
    assert json.loads(json.dumps(kind.details(truths, answers, predictor.spec))) is not None


def test_a_statistic_counts_a_row_as_often_as_it_is_drawn(predictor: Predictor, scored):
    kind = predictor.task_type
    said = [kind.said(answer) for answer in predictor.predict(scored)]
    truths = [as_truth(kind.name, other) for other in [*said[1:], said[0]]]
    drawn = np.random.default_rng(0).integers(0, len(scored), len(scored))
    weights = np.bincount(drawn, minlength=len(scored))[None, :].astype(np.float64)
    for name in kind.metric_names:
        resampled = kind.statistic(name, [truths[row] for row in drawn], [said[row] for row in drawn])
        expected = resampled(np.ones((1, len(scored))))[0]
        assert kind.statistic(name, truths, said)(weights)[0] == pytest.approx(expected, abs=1e-9), name


def test_no_text_is_too_long(predictor: Predictor):
    row = rows_for(predictor)[0]
    longest = list(row)[-1]
    huge = {**row, longest: (row[longest] + " 很好 ") * (100_000 // (len(row[longest]) + 4))}
    huge[longest] += " 酒 👍 9"  # which stands nowhere else
    [answer] = predictor.predict([huge])
    assert json.dumps(predictor.task_type.present(answer, 3))
    # The end of the text is read too: its last token is the last one, before [SEP], of a window.
    if predictor.task_type.name != "fill_mask":  # reads what is around its masks
        windows = predictor.encode([huge])
        last = predictor.tokenizer(huge[longest], add_special_tokens=False, verbose=False)["input_ids"][-3:]
        assert any(_holds(window["input_ids"], last) for window in windows.features)
        assert len(windows.features) > 100


def _holds(ids: list[int], wanted: list[int]) -> bool:
    return any(ids[place : place + len(wanted)] == wanted for place in range(len(ids)))


def test_no_rows_have_no_answers(predictor: Predictor):
    assert predictor.predict([]) == []


def as_truth(task_type: str, said: str) -> str:
    """A label under which that answer is right; most types write both alike."""
    if task_type == "question_answering":
        return json.dumps({"text": [said] if said else [], "answer_start": [0] if said else []})
    return "" if task_type == "fill_mask" else said


def plain(answer: Any) -> Any:
    """As JSON has it; what pandas filled in for None is None again."""
    content = {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in answer.items()}
    return json.loads(json.dumps(content))


def test_what_the_monitor_measures_of_an_answer_is_plain_numbers(predictor: Predictor, rows):
    windows, kind = predictor.encode(rows), predictor.task_type
    answers = predictor.conclude(rows, windows, predictor.outputs_of(windows.features))
    measured = Meter(predictor).measure(rows, windows, answers)
    json.dumps(measured, allow_nan=False)
    for each in measured:
        assert {"characters", "script", "tokens", "unknown", "confidence", "projection"} <= set(each)
        assert ("label" in each) == kind.has_labels
        assert len(each["projection"]) in (8, 16)
        assert 0 <= each.get("entropy", 0) <= 1
