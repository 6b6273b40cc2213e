"""The same text gets the same answer alone, in any batch, in any order and everywhere: of each type, with each setting.

The variants follow from the types: a new setting, or a type that takes pairs, is tested by being there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient

from components.models.golden import distance, shown
from components.models.inference import TOLERANCE, Predictor
from components.models.prediction import predict_file
from components.models.pyfunc import _load_pyfunc
from components.task_types import find_task_type, task_type_names
from service.application import Application
from service.schemas import find_speech
from tests.bundles import build_source, tiny_config
from tests.model_folders import build_model

ALPHABET = st.one_of(
    st.sampled_from("the card room bad very "),
    st.sampled_from("酒店很好的服务，。"),
    st.sampled_from("Ｆｕ１　？👍🏽𝒜€é\u200d-'"),
)
ENTAILMENT = ("contradiction", "entailment", "neutral")
PIECES = st.one_of(st.text(ALPHABET, max_size=30), st.text(ALPHABET, min_size=1, max_size=4).map(lambda own: own * 60))


@dataclass(frozen=True)
class Variant:
    """A type with its settings, asked for single texts or for pairs."""

    task_type: str
    chosen: tuple[tuple[str, Any], ...] = ()
    pairs: bool = False

    def __str__(self) -> str:
        words = [
            self.task_type,
            *(f"{name}={value}" for name, value in self.chosen),
            *(["pairs"] if self.pairs else []),
        ]
        return " ".join(words)


def variants() -> Iterator[Variant]:
    """Each type as it is, with every other choice of each setting, and with pairs where it takes them."""
    for name in task_type_names():
        kind = find_task_type(name)
        yield Variant(name)
        if "text_pair" in kind.texts:
            yield Variant(name, pairs=True)
        for field, found in kind.settings.model_fields.items():
            choices = get_args(found.annotation) if get_origin(found.annotation) is Literal else ()
            for choice in choices:
                if choice != found.default and _can_be(kind, {field: choice}):
                    yield Variant(name, ((field, choice),))


def _can_be(kind: Any, chosen: dict[str, Any]) -> bool:
    try:
        kind.settings.model_validate(chosen)
    except ValidationError:
        return False
    return True


@dataclass(frozen=True)
class Model:
    """A model of a variant, where it lies, and what its endpoint says."""

    variant: Variant
    folder: Path
    predictor: Predictor
    client: TestClient

    def row(self, pieces: list[str]) -> dict[str, str]:
        """A row whose texts are these pieces."""
        example = find_speech(self.variant.task_type).example
        names = [name for name in self.predictor.task_type.texts if name != "text_pair" or self.variant.pairs]
        mark = f" {self.predictor.tokenizer.mask_token}" if self.variant.task_type == "fill_mask" else ""
        given = zip(names, pieces, strict=False)  # a single text takes the first
        return {name: (piece if piece.strip() else str(example[name])) + mark for name, piece in given}

    def presented(self, rows: list[dict[str, str]]) -> list[Any]:
        kind = self.predictor.task_type
        return [_plain(kind.present(answer, 3)) for answer in self.predictor.predict(rows)]


@pytest.fixture(scope="module", params=list(variants()), ids=str)
def model(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Model]:
    variant: Variant = request.param
    place, chosen = tmp_path_factory.mktemp("variants"), dict(variant.chosen)
    base = build_model(place / "nli", tiny_base, labels=ENTAILMENT) if "nli" in chosen.values() else tiny_base
    folder = build_model(place / "model", base, task_type=variant.task_type, chosen=chosen, pairs=variant.pairs)
    source = build_source(place / "bundle", folder, tiny_config(top_k=3, max_texts=64))
    with TestClient(Application(source)) as client:
        yield Model(variant, folder, Predictor.load(folder), client)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), drawn=st.lists(st.lists(PIECES, min_size=2, max_size=2), min_size=1, max_size=6))
def test_alone_in_a_batch_and_in_any_order(model: Model, data: st.DataObject, drawn: list[list[str]]):
    rows = [model.row(pieces) for pieces in drawn]
    order = data.draw(st.permutations(range(len(rows))))
    together = shown(model.predictor, model.predictor.predict(rows))
    shuffled = shown(model.predictor, model.predictor.predict([rows[index] for index in order]))
    for place, index in enumerate(order):
        alone = shown(model.predictor, model.predictor.predict([rows[index]]))[0]
        assert distance(together[index], shuffled[place]) <= TOLERANCE
        assert distance(together[index], alone) <= TOLERANCE


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(st.lists(PIECES, min_size=2, max_size=2), min_size=1, max_size=6))
def test_in_mlflow_the_endpoint_and_a_file(model: Model, drawn: list[list[str]]):
    rows = [model.row(pieces) for pieces in drawn]
    places = {
        "MLflow": _load_pyfunc(str(model.folder)).predict(pd.DataFrame(rows)).to_dict("records"),
        "the endpoint": _asked(model, rows),
        "a file": _of_file(model, rows),
    }
    for place, answers in places.items():
        for expected, found in zip(model.presented(rows), answers, strict=True):
            assert distance(expected, _plain(found)) <= TOLERANCE, place


def _asked(model: Model, rows: list[dict[str, str]]) -> list[Any]:
    items = [next(iter(row.values())) if len(row) == 1 else row for row in rows]
    answer = model.client.post("/predict", json={model.predictor.task_type.many: items})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["predictions"])


def _of_file(model: Model, rows: list[dict[str, str]]) -> list[Any]:
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "rows.jsonl", Path(place) / "answers.jsonl"
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        assert predict_file(model.folder, source, target, {}) == len(rows)
        lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in ("row", "problem")} for line in lines]


def _plain(answer: Any) -> Any:
    """As JSON has it; what pandas filled in for None is None again."""
    content = {key: None if isinstance(value, float) and value != value else value for key, value in answer.items()}
    return json.loads(json.dumps(content))
