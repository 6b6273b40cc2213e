from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, IOBES

from components.entities.entity_metrics import METRICS, entity_metrics, entity_statistic, per_label, row_f1
from components.entities.tags import as_label, runs_of_tags, spans_of_tags, tag_names, tags_of_spans
from components.entities.text_units import split_units

LABELS = ("LOC", "PER")


@st.composite
def tagged_units(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    """Units of a text with gaps, and spans on their borders."""
    count = draw(st.integers(0, 12))
    gaps = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    starts = np.cumsum([1 + gap for gap in gaps])
    cuts = sorted(draw(st.sets(st.integers(0, count), max_size=count + 1)))
    spans = [
        (int(starts[a]), int(starts[b - 1]) + 1, draw(st.sampled_from(LABELS)))
        for a, b in itertools.pairwise(cuts)
        if draw(st.booleans())
    ]
    return np.array([[start, start + 1] for start in starts], np.int64).reshape(-1, 2), spans


@settings(max_examples=200, deadline=None)
@given(tagged_units())
def test_tags_give_back_the_spans_they_are_made_of(case):
    units, spans = case
    tags = tags_of_spans(units, spans, LABELS)
    found = [(int(units[a, 0]), int(units[b - 1, 1]), LABELS[label]) for a, b, label in runs_of_tags(tags)]
    assert found == spans


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12))
def test_decoded_tags_are_repaired_by_the_rule_for_files(tags: list[int]):
    names = tag_names(LABELS)
    read_back = [(a, b, LABELS[label]) for a, b, label in runs_of_tags(np.array(tags, np.int64))]
    assert read_back == spans_of_tags([names[tag] for tag in tags])


def test_a_span_inside_a_unit_is_taught_as_the_whole_unit():
    units = np.array(split_units("at 13:00pm xWCGy now"), np.int64)
    tags = tags_of_spans(units, [(3, 8, "LOC"), (12, 15, "PER")], LABELS)
    assert tags.tolist() == [0, 1, 2, 2, 3, 0]


def scored_by_seqeval(truths: Sequence[Any], said: Sequence[Any], scheme: Any, average: str | None) -> Any:
    """Precision, recall, F1 and support; where there is nothing at all seqeval fails or warns, and all are 0."""
    if not any(tag != "O" for rows in (truths, said) for tags in rows for tag in tags):
        return [0.0] * 4 if average else []
    scored = precision_recall_fscore_support(truths, said, average=average, scheme=scheme, zero_division=0)
    return [part if part is not None else 0 for part in scored]


def legal(tags: list[str]) -> list[str]:
    """The same tags, an I without its entity as B: sequences that strict scoring cannot read in two ways."""
    out: list[str] = []
    for tag in tags:
        begins = tag[0] == "I" and (not out or out[-1][1:] != tag[1:])
        out.append("B" + tag[1:] if begins else tag)
    return out


documents = st.lists(
    st.integers(0, 9).flatmap(
        lambda size: st.tuples(
            *[st.lists(st.sampled_from(tag_names(("a", "b", "c"))), min_size=size, max_size=size)] * 2
        )
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=1000, deadline=None)
@given(documents)
def test_scores_are_those_of_strict_seqeval(rows):
    truths, said = ([legal(row[side]) for row in rows] for side in (0, 1))
    labels = [[as_label(spans_of_tags(tags)) for tags in column] for column in (truths, said)]
    found = entity_metrics(*labels)
    micro, macro = (scored_by_seqeval(truths, said, IOB2, average) for average in ("micro", "macro"))
    expected = dict(zip(("precision", "recall", "f1"), micro[:3], strict=True)) | {"macro_f1": macro[2]}
    assert found == pytest.approx(expected)
    table = {
        line["label"]: [line[name] for name in ("precision", "recall", "f1", "support")] for line in per_label(*labels)
    }
    each = np.array(scored_by_seqeval(truths, said, IOB2, None)).T.reshape(-1, 4)
    assert list(table.values()) == [pytest.approx(line) for line in each.tolist()]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=6), min_size=2, max_size=8))
def test_scores_of_bioes_tags_are_those_of_strict_seqeval(rows):
    """Entities of so many tokens, with an O where there are none, as each scheme writes them."""
    half = len(rows) // 2
    truths, said = ([bioes(row) for row in part] for part in (rows[:half], rows[half : 2 * half]))
    for true, other in zip(truths, said, strict=True):
        longest = max(len(true), len(other))
        true += ["O"] * (longest - len(true))
        other += ["O"] * (longest - len(other))
    found = entity_metrics(*([as_label(spans_of_tags(tags)) for tags in column] for column in (truths, said)))
    precision, recall, f1, _ = scored_by_seqeval(truths, said, IOBES, "micro")
    assert [found["precision"], found["recall"], found["f1"]] == pytest.approx([precision, recall, f1])


def bioes(entities: Sequence[tuple[int, str]]) -> list[str]:
    tags: list[str] = []
    for size, label in entities:
        letters = {0: "O", 1: "S"}.get(size) or "B" + "I" * (size - 2) + "E"
        tags += ["O" if letter == "O" else f"{letter}-{label}" for letter in letters]
    return tags


@settings(max_examples=60, deadline=None)
@given(documents, st.data())
def test_a_statistic_is_the_metric_of_the_rows_drawn(rows, data):
    truths, said = ([as_label(spans_of_tags(row[side])) for row in rows] for side in (0, 1))
    drawn = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    weights = np.bincount(drawn, minlength=len(rows)).astype(np.float64)[None, :]
    expected = entity_metrics([truths[row] for row in drawn], [said[row] for row in drawn])
    for metric in METRICS:
        assert entity_statistic(metric, truths, said)(weights)[0] == pytest.approx(expected[metric])


def test_worked_scores():
    truths = [as_label([(0, 2, "LOC"), (3, 5, "PER")]), "[]", "[]"]
    said = [as_label([(0, 2, "LOC"), (3, 5, "LOC")]), "[]", as_label([(1, 2, "PER")])]
    assert entity_metrics(truths, said) == pytest.approx(
        {"f1": 0.4, "precision": 1 / 3, "recall": 0.5, "macro_f1": 1 / 3}
    )
    assert row_f1(truths, said).tolist() == [0.5, 1.0, 0.0]
    table = {line["label"]: line for line in per_label(truths, said)}
    assert table["LOC"] == {"label": "LOC", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
