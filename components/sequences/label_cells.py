"""The labels in one cell of a data file: a JSON list, or words with a sign between them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from components.task_types.base import json_text

SEPARATORS = re.compile("[|;｜；]")
COMMAS = re.compile("[,，、]")


def read_labels(cell: str | None) -> list[str] | str:
    """The labels in a cell, or what is wrong with it.

    A word alone is one label. With a comma and no other sign it may be one label or several: a JSON list must say.
    """
    text = (cell or "").strip()
    if not text:
        return "there is no list of labels; [] says that none applies"
    if text[0] in "[{":
        return _checked(_from_json(text))
    parts = [part.strip() for part in SEPARATORS.split(text)]
    if len(parts) == 1 and COMMAS.search(text):
        return f"'{text}' holds a comma: one label or several?"
    return _checked(parts)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)  # NaN is no JSON, and no label
    except (ValueError, RecursionError):
        return None


def _checked(labels: Any) -> list[str] | str:
    if not isinstance(labels, list):
        return "the labels are no JSON list"
    words = [label if isinstance(label, str) else json_text(label) for label in labels]
    if any(not isinstance(label, str | bool | int | float) for label in labels):
        return "the list holds something other than labels: null, a list or an object"
    if any(not word.strip() for word in words):
        return "the list holds a blank label"
    twice = [word for word, count in Counter(words).items() if count > 1]
    return f"'{twice[0]}' stands there twice" if twice else words
