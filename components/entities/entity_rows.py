"""Rows of an entity file: tokens with tags, or a text with spans, become a text and a label, or a reason why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from components.entities.tags import OUTSIDE, Span, as_label, first_orphan, is_tag, spans_of_tags
from components.entities.text_units import is_unspaced
from components.task_types.base import Fault

FAULTS = {
    "illegal_tags": "give each token one tag: O, or B-, I-, E-, S- (or M-, L-, U-) with the label.",
    "illegal_sequence": "begin each entity with B-, or set task.illegal_sequences to repair: then it begins there.",
    "span_outside_text": "count offsets in Unicode code points (as Python does) from 0, the end exclusive.",
    "span_text_differs": "count offsets in Unicode code points, not in bytes or UTF-16 units.",
    "overlapping_spans": "keep one of the spans: an answer is a list of entities that do not overlap.",
    "broken_entities": "give a list of objects with start, end and label.",
}
MENDED = {"repaired_tags": "begin each entity with B- at the source; task.illegal_sequences: repair began it there."}
SHOWN = 40  # characters of a value in a reason


def read_tagged(tokens: str | None, tags: str | None, *, io: bool, repair: bool) -> Mapping[str, str] | Fault:
    """The row of a list of tokens and a list of tags, both JSON.

    Args:
        io: whether an entity may begin with I-.
        repair: whether one that must not do so begins there all the same.
    """
    words = _list(tokens)
    if tokens is None or words is None or not all(isinstance(word, str) for word in words):
        return {} if tokens is None else Fault("illegal_tags", "the tokens are not a list of texts")
    text, offsets = join_tokens(words)
    if tags is None:
        return {"text": text}
    marks = _list(tags)
    if marks is None:
        return Fault("illegal_tags", "the tags are not a list")
    if fault := _tag_fault(words, marks):
        return fault
    orphan = None if io else _orphan(marks)
    if orphan and not repair:
        return Fault("illegal_sequence", orphan)
    spans = [(offsets[first][0], offsets[end - 1][1], label) for first, end, label in spans_of_tags(marks)]
    row = {"text": text, "label": as_label(spans)}
    return Fault("repaired_tags", orphan, row) if orphan else row


def _tag_fault(words: Sequence[str], tags: Sequence[Any]) -> Fault | None:
    if len(words) != len(tags):
        return Fault("illegal_tags", f"{len(words)} tokens and {len(tags)} tags")
    for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
        if not is_tag(tag):
            return Fault("illegal_tags", f"tag {place} is {str(tag)[:SHOWN]!r}")
        if not word.strip() and tag != OUTSIDE:
            return Fault("illegal_tags", f"tag {place} is {tag[:SHOWN]!r} on a blank token")
    return None


def _orphan(tags: Sequence[str]) -> str | None:
    """Which I- or E- continues no entity, if one does not."""
    orphan = first_orphan(tags)
    if orphan is None:
        return None
    before = f"follows {tags[orphan - 1][:SHOWN]!r}" if orphan else "comes first"
    return f"tag {orphan}, {tags[orphan][:SHOWN]!r}, {before}"


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens, and where each stands in it: spaces between them, but not between two Chinese characters.

    White space round a token is left out; a blank token has an empty place.
    """
    parts: list[str] = []
    offsets: list[tuple[int, int]] = []
    end, last = 0, ""
    for token in map(str.strip, tokens):
        if token and last and not (is_unspaced(last) and is_unspaced(token[0])):
            parts.append(" ")
            end += 1
        parts.append(token)
        offsets.append((end, end + len(token)))
        end, last = end + len(token), token[-1:] or last
    return "".join(parts), offsets


def read_spans(text: str | None, entities: str | None) -> Mapping[str, str] | Fault:
    """The row of a text and its entities, a JSON list of objects or of [start, end, label]."""
    if text is None or entities is None:
        return {} if text is None else {"text": text}
    items = _list(entities)
    if items is None:
        return Fault("broken_entities", f"the entities are {entities[:SHOWN]!r}, not a list")
    spans: list[Span] = []
    for place, item in enumerate(items):
        span = _span(text, place, item)
        if isinstance(span, Fault):
            return span
        spans.append(span)
    return _overlap(spans) or {"text": text, "label": as_label(spans)}


def _span(text: str, place: int, item: Any) -> Span | Fault:
    if isinstance(item, list) and len(item) == 3:
        item = dict(zip(("start", "end", "label"), item, strict=True))
    if not isinstance(item, dict):
        return Fault("broken_entities", f"entity {place} is {str(item)[:SHOWN]!r}, not an object")
    start, end, label = (item.get(key) for key in ("start", "end", "label"))
    if type(start) is not int or type(end) is not int:  # true is an int in Python
        return Fault("broken_entities", f"entity {place} has no whole numbers as start and end")
    if not isinstance(label, str) or not label.strip():
        return Fault("broken_entities", f"entity {place} has no label")
    if not 0 <= start < end <= len(text):
        return Fault("span_outside_text", f"entity {place} is {start} to {end} in a text of {len(text)} characters")
    marked = text[start:end]
    if not marked.strip():
        return Fault("span_outside_text", f"entity {place}, {start} to {end}, marks nothing but white space")
    if isinstance(item.get("text"), str) and item["text"] != marked:
        said = item["text"][:SHOWN]
        return Fault("span_text_differs", f"entity {place}, {start} to {end}, is {marked[:SHOWN]!r}, not {said!r}")
    return start, end, label


def _overlap(spans: Sequence[Span]) -> Fault | None:
    ordered = sorted(spans)
    for (start, end, label), (next_start, next_end, next_label) in pairwise(ordered):
        if next_start < end:
            both = f"{label[:SHOWN]!r} {start} to {end} and {next_label[:SHOWN]!r} {next_start} to {next_end}"
            return Fault("overlapping_spans", f"{both} overlap")
    return None


def _list(value: str | None) -> list[Any] | None:
    try:
        found = json.loads(value or "")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
