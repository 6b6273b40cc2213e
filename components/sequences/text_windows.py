"""The one windowing rule: a text longer than the model reads becomes overlapping windows, so that no word is lost.

A single text is cut into windows of `max_length` tokens that share `window_overlap`. Of a pair, the second text is; the
first stands in every window, and only what is beyond half of a window is cut from it, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.task_types.base import Features, Row, Spec, Windows


def window_texts(tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
    """The windows of rows with a `text`, or truly two segments with a `text_pair`: [CLS] A [SEP] B [SEP]."""
    if not rows:
        return Windows([], [])
    texts = [row["text"] for row in rows]
    if "text_pair" not in rows[0]:
        return _windows(tokenizer(texts, truncation=True, max_length=spec.max_length, stride=spec.window_overlap))
    pairs = [row["text_pair"] for row in rows]
    encoded = tokenizer(texts, pairs, truncation="longest_first", max_length=spec.max_length)
    features = _features(encoded)
    own = [[feature] for feature in features]
    cut = 0
    for place, encoding in enumerate(encoded.encodings):
        if encoding.overflowing:
            own[place], shortened = _long_pair(tokenizer, texts[place], pairs[place], spec)
            cut += shortened
    return Windows(list(chain(*own)), [row for row, found in enumerate(own) for _ in found], cut)


def _long_pair(tokenizer: Any, first: str, second: str, spec: Spec) -> tuple[list[Features], bool]:
    """The windows of one pair that does not fit; whether its first text had to be cut."""
    room = (spec.max_length - tokenizer.num_special_tokens_to_add(pair=True)) // 2
    offsets = tokenizer(first, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    shortened = len(offsets) > room
    if shortened:
        first = first[: offsets[room - 1][1]]
    stride = min(spec.window_overlap, room // 2)  # every window goes on by half of its room at least
    encoded = tokenizer([first], [second], truncation="only_second", max_length=spec.max_length, stride=stride)
    return _windows(encoded).features, shortened


def _features(encoded: Any) -> list[Features]:
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def _windows(encoded: Any) -> Windows:
    """The first window of each row, and those that overflow, which the tokenizer has kept."""
    features = _features(encoded)
    if not any(encoding.overflowing for encoding in encoded.encodings):
        return Windows(features, list(range(len(features))))
    found: list[Features] = []
    rows: list[int] = []
    for row, (first, encoding) in enumerate(zip(features, encoded.encodings, strict=True)):
        own = [first, *(_named(rest, first) for rest in encoding.overflowing)]
        found += own
        rows += [row] * len(own)
    return Windows(found, rows)


def _named(encoding: Any, like: Features) -> Features:
    values = {
        "input_ids": encoding.ids,
        "token_type_ids": encoding.type_ids,
        "attention_mask": encoding.attention_mask,
    }
    return {name: values[name] for name in like}


def mean_of_windows(windows: Windows, outputs: Sequence[NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
    """Pooling: the mean over each row's windows of one vector a window, weighted by their tokens; (rows, width).

    The rest of a text, a few words in a window of their own, says less of it than a whole window.
    """
    stacked = np.stack(outputs)
    if len(windows.features) == rows:
        return stacked.astype(np.float32)
    tokens = np.array([len(feature["input_ids"]) for feature in windows.features], np.float64)
    weights = tokens / np.bincount(windows.rows, tokens, minlength=rows)[windows.rows]
    means = np.zeros((rows, stacked.shape[1]))
    np.add.at(means, windows.rows, stacked * weights[:, None])
    return means.astype(np.float32)
