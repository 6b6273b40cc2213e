"""What a zero-shot model reads: each text with each of its prompts, or texts and prompts by themselves.

Beside the network's own inputs every window has `prompt`, the same at each token: 0 for a text, else the number of the
prompt plus one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from components.prompts.label_prompts import Question, numbered_prompts
from components.sequences.text_windows import window_texts
from components.task_types.base import Features, Row, Spec, Windows
from components.task_types.shapes import several


def window_pairs(tokenizer: Any, rows: Sequence[Row], questions: Sequence[Question], spec: Spec) -> Windows:
    """The windows of [CLS] text [SEP] prompt [SEP], for every prompt of a row one after the other.

    A long text is cut into windows, and the prompt stands in each; a prompt has at most half of a window.
    """
    room = spec.max_length - tokenizer.num_special_tokens_to_add(pair=True)
    prompts = {prompt: _cut(tokenizer, prompt, room // 2) for prompt in numbered_prompts(questions)}
    cut = _rows_with({prompt for prompt, kept in prompts.items() if kept != prompt}, questions)
    pairs = [
        (row["text"], prompts[prompt], number, place)
        for number, (row, question) in enumerate(zip(rows, questions, strict=True))
        for place, prompt in enumerate(question.prompts)
    ]
    if not pairs:
        return Windows([], [])
    encoded = tokenizer(
        [text for text, *_ in pairs],
        [prompt for _, prompt, *_ in pairs],
        truncation="only_first",
        max_length=spec.max_length,
        stride=min(spec.window_overlap, room - room // 2 - 1),  # at least one new token in every window
        return_overflowing_tokens=True,
    )
    owners = encoded.pop("overflow_to_sample_mapping")
    features = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    found = [_numbered(window, pairs[owner][3] + 1) for window, owner in zip(features, owners, strict=True)]
    long = {pairs[owner][2] for owner, count in Counter(owners).items() if count > 1}
    return Windows(found, [pairs[owner][2] for owner in owners], cut, long=len(long))


def window_texts_and_prompts(tokenizer: Any, rows: Sequence[Row], questions: Sequence[Question], spec: Spec) -> Windows:
    """The windows of each text, and once for all rows, behind those of the first one, the prompts."""
    if not rows:
        return Windows([], [])
    prefix = spec.settings.get("prefix", "")
    texts = window_texts(tokenizer, [{"text": prefix + row["text"]} for row in rows], spec)
    known = list(numbered_prompts(questions))
    sentences = [prefix + prompt for prompt in known]
    encoded = tokenizer(sentences, truncation=True, max_length=spec.max_length)
    read = [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
    room = spec.max_length - tokenizer.num_special_tokens_to_add(pair=False)
    full = [number for number, window in enumerate(read) if len(window["input_ids"]) == spec.max_length]
    cut = {known[number] for number in full if _cut(tokenizer, sentences[number], room) != sentences[number]}
    prompts = [_numbered(window, number + 1) for number, window in enumerate(read)]
    found = [_numbered(window, 0) for window in texts.features]
    first = texts.rows.count(0)
    features = list(chain(found[:first], prompts, found[first:]))
    owners = [0] * (first + len(prompts)) + texts.rows[first:]
    return Windows(features, owners, _rows_with(cut, questions), long=several(texts.rows))  # of a text nothing is lost


def _rows_with(cut: set[str], questions: Sequence[Question]) -> int:
    """How many rows ask with one of these prompts."""
    return sum(not cut.isdisjoint(question.prompts) for question in questions) if cut else 0


def _cut(tokenizer: Any, prompt: str, most: int) -> str:
    offsets = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return prompt if len(offsets) <= most else prompt[: offsets[most - 1][1]]


def _numbered(window: Features, number: int) -> Features:
    return {**window, "prompt": [number] * len(window["input_ids"])}
