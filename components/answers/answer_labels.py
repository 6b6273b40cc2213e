"""The true answers of a question as data files hold them, read, checked against the context, and written one way.

A file may hold `{"text": [...], "answer_start": [...]}`, a list of `{"text", "answer_start"}`, or one such object.
Nothing in it means that the context does not answer the question. Offsets count characters (code points) from 0.

A text that does not stand at its offset is repaired if it occurs exactly once in the context, since then only one
place can be meant; otherwise the row is set aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.entities.text_units import UNSPACED
from components.task_types.base import Fault, json_text

BROKEN = "broken_answers"
NOT_IN_CONTEXT = "answer_not_in_context"
FAULTS: Mapping[str, str] = {
    BROKEN: 'write answers as {"text": [...], "answer_start": [...]}, both empty where the context has no answer.',
    NOT_IN_CONTEXT: "correct the answer or its offset, counted in characters from the start of the context.",
}
MOVED = "moved_answers"
MENDED: Mapping[str, str] = {
    MOVED: "correct the offsets at the source; each text occurs once in its context, so that it was found there."
}
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no", "")
SHOWN = 40  # characters of an answer in a reason


def read_answers(context: str, answers: str, is_impossible: str | None = None) -> str | Fault:
    """The label of a row, `{"text": [...], "answer_start": [...]}` as JSON text, or what is wrong, maybe mended.

    Args:
        context: the text that the answers stand in.
        answers: JSON text.
        is_impossible: the word in the column of that name; None where the file has none.
    """
    impossible = (is_impossible or "").strip().lower()
    if impossible not in (*TRUE, *FALSE):
        return Fault(BROKEN, f"is_impossible is {impossible[:SHOWN]!r}, neither true nor false")
    if impossible in TRUE:
        return _label([], [])  # what some writers leave in answers is plausible, and wrong
    found = _pairs(answers)
    if isinstance(found, str):
        return Fault(BROKEN, found)
    if not found and impossible:
        return Fault(BROKEN, "is_impossible is false, but there is no answer")
    places = [locate(context, text, start) for text, start in found]
    lost = [pair for pair, place in zip(found, places, strict=True) if place is None]
    if lost:
        return Fault(NOT_IN_CONTEXT, _lost(context, *lost[0]))
    starts = [place for place in places if place is not None]
    label = _label([text for text, _ in found], starts)
    moved = _moved(found, starts)
    return Fault(MOVED, moved, {"label": label}) if moved else label


def _moved(found: Sequence[tuple[str, int]], starts: Sequence[int]) -> str | None:
    """Which answer stands elsewhere than where its offset says, if one does."""
    pairs = zip(found, starts, strict=True)
    return next((f"{text[:SHOWN]!r} is not at {said}, but at {at}" for (text, said), at in pairs if said != at), None)


def estimated_tokens(answer: str) -> int:
    """About how many tokens an answer has: one for each Chinese character, and for each three other ones."""
    unspaced = len(UNSPACED.findall(answer))
    return unspaced + -(-(len(answer) - unspaced) // 3)


def locate(context: str, text: str, start: int) -> int | None:
    """Where a text stands in the context: at `start`, else where it occurs if that is one place only."""
    if start >= 0 and context.startswith(text, start):
        return start
    first = context.find(text)
    return first if first >= 0 and context.find(text, first + 1) < 0 else None


def _label(texts: Sequence[str], starts: Sequence[int]) -> str:
    return json_text({"text": list(texts), "answer_start": list(starts)})


def _pairs(answers: str) -> list[tuple[str, int]] | str:
    """Texts and offsets, or what is wrong with them."""
    try:
        value = json.loads(answers)
    except (ValueError, RecursionError):
        return f"{answers[:SHOWN]!r} is not JSON"
    items = value if isinstance(value, list) else [value]
    found: list[tuple[str, int]] = []
    for item in items:
        if not isinstance(item, Mapping) or not {"text", "answer_start"} <= item.keys():
            return "there is an answer that is no object with text and answer_start"
        texts, starts = _as_list(item["text"]), _as_list(item["answer_start"])
        if len(texts) != len(starts):
            return f"text holds {len(texts)} and answer_start {len(starts)}"
        for text, start in zip(texts, starts, strict=True):
            problem = _problem(text, start)
            if problem:
                return problem
            found.append((text, int(start)))
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _problem(text: Any, start: Any) -> str:
    if not isinstance(text, str):
        return f"the answer {json_text(text)[:SHOWN]!r} is no text"
    if not text.strip():
        return f"the answer {text[:SHOWN]!r} is blank; where the context has no answer, the lists are empty"
    if isinstance(start, bool) or not isinstance(start, int | float) or start != start // 1:
        return f"the offset {json_text(start)[:SHOWN]!r} is no whole number"
    return ""


def _lost(context: str, text: str, start: int) -> str:
    places = "more than once" if text in context else "nowhere"
    return f"{text[:SHOWN]!r} is not at {start}, and occurs {places} in the context"
