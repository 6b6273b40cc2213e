from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.entities.entity_rows import join_tokens
from components.entities.tags import spans_of_label
from components.task_types import Fault, find_task_type

TYPE = find_task_type("token_classification")


def read(**values: Any) -> Any:
    repair = values.pop("repair", False)
    given_values = {role: json.dumps(value) if role != "text" else value for role, value in values.items()}
    return TYPE.read(given_values, {"illegal_sequences": "repair" if repair else "refuse"})


def test_tokens_become_a_text_with_spans_in_code_points():
    row = read(
        tokens=["👍🏽", "李", "开", "复", "，", "visits", "New", "York"],
        tags=["O", *["B-PER", "I-PER", "I-PER", "O", "O"], "B-LOC", "I-LOC"],
    )
    assert row["text"] == "👍🏽 李开复， visits New York"
    assert [row["text"][a:b] for a, b, _ in spans_of_label(row["label"])] == ["李开复", "New York"]


@pytest.mark.parametrize(
    "tags",
    [
        "O B-LOC I-LOC I-LOC O B-PER B-PER",  # BIO
        "O B-LOC I-LOC E-LOC O S-PER S-PER",  # BIOES
        "O B-LOC M-LOC E-LOC O S-PER S-PER",  # BMES
        "O B-LOC I-LOC L-LOC O U-PER U-PER",  # BILOU
        "O B_LOC I_LOC I_LOC O B_PER B_PER",
    ],
)
def test_every_scheme_says_the_same(tags: str):
    row = read(tokens=list("abcdefg"), tags=tags.split())
    assert spans_of_label(row["label"]) == [(2, 7, "LOC"), (10, 11, "PER"), (12, 13, "PER")]


def test_tags_of_io_are_legal():
    assert spans_of_label(read(tokens=list("abcd"), tags=["I-LOC", "I-LOC", "I-PER", "O"])["label"]) == [
        (0, 3, "LOC"),
        (4, 5, "PER"),
    ]


@pytest.mark.parametrize("tags", ["O I-LOC O B-PER", "B-LOC I-PER O O", "B-LOC E-LOC I-LOC O", "O E-LOC B-PER O"])
def test_an_entity_without_a_beginning_is_refused_or_repaired(tags: str):
    refused = read(tokens=list("abcd"), tags=tags.split())
    assert isinstance(refused, Fault)
    assert refused.check == "illegal_sequence"
    repaired = read(tokens=list("abcd"), tags=tags.split(), repair=True)
    assert (repaired.check, repaired.reason) == ("repaired_tags", refused.reason)
    assert len(spans_of_label(repaired.row["label"])) == 2


def test_one_row_does_not_make_a_file_io():
    """Of a BIO file a row whose only tag is I- is a mistake; of a file with nothing but I- it is not."""
    import pyarrow as pa

    from components.data.canonical_rows import rewrite

    wrong = ["O", "I-PER", "O"]

    def faults(*others: list[str], repair: bool = False) -> dict[int, Fault]:
        tags = [json.dumps(row) for row in (wrong, *others)]
        table = pa.table({"tokens": [json.dumps(list("abc"))] * len(tags), "tags": tags})
        settings = {"illegal_sequences": "repair" if repair else "refuse"}
        return rewrite(table, {"tokens": "tokens", "tags": "tags"}, TYPE, settings, ())[1]

    refused = {0: Fault("illegal_sequence", "tag 1, 'I-PER', follows 'O'")}
    for letter in "BSUEL":
        assert faults(["O", "O", "O"], [f"{letter}-LOC", "O", "O"])[0] == refused[0]
    assert faults(["I-LOC", "I-LOC", "O"]) == {}
    assert faults(["B-LOC", "I-LOC", "O"], repair=True)[0].row == {"text": "a b c", "label": '[[2, 3, "PER"]]'}


def test_a_fault_names_the_tag():
    assert read(tokens=["a", "b"], tags=["O", "B"]) == Fault("illegal_tags", "tag 1 is 'B'")
    fault = read(tokens=["a", "b", "c"], tags=["B-LOC", "O", "I-LOC"])
    assert fault == Fault("illegal_sequence", "tag 2, 'I-LOC', follows 'O'")


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        (["a", "b"], ["O"]),
        (["a"], [3]),
        (["a"], ["X-LOC"]),
        (["a"], ["B-"]),
        (["a"], {"a": "O"}),
        ([1], ["O"]),
        ("a", ["O"]),
        (["a", " "], ["O", "B-LOC"]),
    ],
)
def test_what_is_no_list_of_tags_is_a_fault(tokens: Any, tags: Any):
    fault = read(tokens=tokens, tags=tags)
    assert isinstance(fault, Fault)
    assert fault.check == "illegal_tags"
    assert fault.check in TYPE.faults


@pytest.mark.parametrize(
    ("entities", "check"),
    [
        ([{"start": 0, "end": 7, "label": "LOC"}], "span_outside_text"),
        ([{"start": -1, "end": 2, "label": "LOC"}], "span_outside_text"),
        ([{"start": 2, "end": 2, "label": "LOC"}], "span_outside_text"),
        ([{"start": 1, "end": 2, "label": "LOC"}], "span_outside_text"),  # a space
        ([{"start": 0, "end": 3, "label": "A"}, {"start": 2, "end": 4, "label": "B"}], "overlapping_spans"),
        ([{"start": 0, "end": 1, "label": "A"}, {"start": 0, "end": 1, "label": "A"}], "overlapping_spans"),
        ([{"start": 2, "end": 5, "label": "LOC", "text": "香"}], "span_text_differs"),  # counted in UTF-16
        ([{"start": 0, "end": 1}], "broken_entities"),
        ([{"start": 0, "end": 1, "label": " "}], "broken_entities"),
        ([{"start": 0.5, "end": 1, "label": "LOC"}], "broken_entities"),
        ([{"start": True, "end": 2, "label": "LOC"}], "broken_entities"),
        (["LOC"], "broken_entities"),
        ({"start": 0}, "broken_entities"),
    ],
)
def test_what_is_wrong_with_spans(entities: Any, check: str):
    fault = read(text="👍 香港 x", entities=entities)
    assert isinstance(fault, Fault)
    assert fault.check == check
    assert check in TYPE.faults


def test_json_that_is_cut_off_is_broken():
    assert TYPE.read({"text": "a", "entities": '[{"start": 0'}, {}).check == "broken_entities"  # type: ignore[union-attr]


def test_a_missing_value_is_left_to_the_checks_of_all_types():
    assert TYPE.read({"text": None, "entities": "[]"}, {}) == {}
    assert TYPE.read({"text": "a", "entities": None}, {}) == {"text": "a"}
    assert TYPE.read({"tokens": None, "tags": "[]"}, {}) == {}
    assert read(text="a", entities=[]) == {"text": "a", "label": "[]"}


def test_spans_may_be_lists_and_come_in_any_order():
    row = read(text="Anna in Paris", entities=[[8, 13, "LOC"], [0, 4, "PER"]])
    assert row["label"] == '[[0, 4, "PER"], [8, 13, "LOC"]]'
    assert list(TYPE.words(row["label"])) == ["PER", "LOC"]


def test_own_column_names_choose_the_form():
    assert TYPE.columns({"tags": "ner_tags"}, ["tokens", "ner_tags"]) == {"tokens": "tokens", "tags": "ner_tags"}
    assert TYPE.columns({}, ["text", "entities"]) == {"text": "text", "entities": "entities"}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("ab中，é👍 ", max_size=4), max_size=8))
def test_each_token_stands_at_its_place(tokens: list[str]):
    text, offsets = join_tokens(tokens)
    for token, (start, end) in zip(tokens, offsets, strict=True):
        assert text[start:end] == token.strip()
