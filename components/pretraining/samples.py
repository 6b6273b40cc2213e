"""Guesses of masked words in held-out passages, for a person to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from components.step_store import write_whole

if TYPE_CHECKING:
    from components.models.inference import Predictor

PASSAGES = 20
GUESSES = 5
WORD = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\\d_\u3400-\u9fff]{2,}")


def write_samples(predictor: Predictor, texts: Sequence[str], path: Path) -> None:
    """A markdown table of passages with one word hidden: the word, and what the model holds for likely."""
    chosen = list(_hidden(texts))
    answers = predictor.predict([{"text": text} for text, _ in chosen])
    lines = ["| passage | word | guesses |", "|---|---|---|"]
    for (text, word), answer in zip(chosen, answers, strict=True):
        if answer["masks"]:
            guesses = [f"{item['token']} {item['score']:.2f}" for item in answer["masks"][0]["top"][:GUESSES]]
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in (text, word, ", ".join(guesses))) + " |")
    write_whole(path, "\n".join(lines) + "\n")


def _hidden(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Passages with one word hidden, and that word; which one follows from the passage."""
    for text in texts[:PASSAGES]:
        words = list(WORD.finditer(text))
        if not words:
            continue
        word = words[int.from_bytes(sha256(text.encode("utf-8", "replace")).digest()[:4]) % len(words)]
        gap = "[MASK]"
        yield f"{text[: word.start()]}{gap}{text[word.end() :]}", word[0]
