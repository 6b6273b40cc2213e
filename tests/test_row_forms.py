"""What /explain and /feedback take of each type of model: their own examples, and whole numbers in any spelling."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from components.config import Serving
from service.row_forms import MOST_EXPLAINED, RowForms, row_forms
from service.schemas import find_speech, speech_names

LABELS = ("card", "refund")


def forms(name: str) -> RowForms:
    speech = find_speech(name)
    inputs = [key for key in speech.inputs(Serving()) if key != "text_pair"]
    return row_forms(speech, inputs, LABELS, Serving())


@pytest.mark.parametrize("name", speech_names())
def test_the_examples_of_the_document_are_taken(name: str):
    made = forms(name)
    for model in filter(None, (made.explanation, made.correction)):
        for example in model.model_json_schema()["examples"]:
            model.model_validate_json(json.dumps(example))
    assert (made.correction is None) == (name == "fill_mask")


def test_a_whole_number_may_be_written_as_a_fraction():
    forms("regression").explanation.model_validate_json('{"text": "a", "versions": 844.0}')
    entity = '{"text": "a card", "entities": [{"start": 2.0, "end": 6.0, "label": "card"}]}'
    assert forms("token_classification").correction.model_validate_json(entity).entities[0].start == 2
    answer = '{"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": [0.0]}}'
    assert forms("question_answering").correction.model_validate_json(answer).answers.answer_start == [0]
    with pytest.raises(ValidationError):
        forms("regression").explanation.model_validate_json('{"text": "a", "versions": 844.5}')


def test_a_text_that_is_too_long_to_be_explained_is_so_by_the_document():
    schema = forms("text_classification").explanation.model_json_schema()
    assert schema["properties"]["text"]["maxLength"] == MOST_EXPLAINED
    assert schema["properties"]["label"]["enum"] == list(LABELS)
