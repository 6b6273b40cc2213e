"""The official way to make pretraining examples, plainly written: text in, masked pairs out, in Python throughout.

Source: create_pretraining_data.py and tokenization.py of google-research/bert, from which the steps are taken, without
TensorFlow and without writing files (which would only cost it time).

    python benchmarks/baselines/official_examples.py TEXT VOCABULARY MAX_LENGTH DUPLICATES
"""

from __future__ import annotations

import json
import random
import sys
import time
import unicodedata
from pathlib import Path

MASK_SHARE = 0.15
SHORT_SHARE = 0.1
LONGEST_WORD = 200


class PlainTokenizer:
    """BasicTokenizer and WordpieceTokenizer, uncased."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self.vocabulary = vocabulary

    def tokenize(self, text: str) -> list[str]:
        found = []
        for word in self._words(text):
            found += self._pieces(word)
        return found

    def _words(self, text: str) -> list[str]:
        cleaned = []
        for sign in text:
            code = ord(sign)
            if code in (0, 0xFFFD) or (unicodedata.category(sign) in ("Cc", "Cf") and sign not in "\t\n\r"):
                continue
            if sign.isspace():
                cleaned.append(" ")
            elif _is_chinese(code):
                cleaned += [" ", sign, " "]
            else:
                cleaned.append(sign)
        words = []
        for word in "".join(cleaned).split():
            plain = "".join(s for s in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(s) != "Mn")
            words += _cut_at_punctuation(plain)
        return words

    def _pieces(self, word: str) -> list[str]:
        if len(word) > LONGEST_WORD:
            return ["[UNK]"]
        pieces = []
        start = 0
        while start < len(word):
            end = len(word)
            piece = None
            while start < end:
                part = ("##" if start else "") + word[start:end]
                if part in self.vocabulary:
                    piece = part
                    break
                end -= 1
            if piece is None:
                return ["[UNK]"]
            pieces.append(piece)
            start = end
        return pieces


def _is_chinese(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2CEAF or 0xF900 <= code <= 0xFAFF
    )


def _cut_at_punctuation(word: str) -> list[str]:
    found: list[str] = []
    new = True
    for sign in word:
        code = ord(sign)
        ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        if ascii_sign or unicodedata.category(sign).startswith("P"):
            found.append(sign)
            new = True
        else:
            if new:
                found.append("")
            found[-1] += sign
            new = False
    return found


def make_instances(
    documents: list[list[list[str]]], words: list[str], max_length: int, duplicates: int, draw: random.Random
) -> list[tuple]:
    instances = []
    for _ in range(duplicates):
        for index in range(len(documents)):
            instances += _of_document(documents, index, words, max_length, draw)
    draw.shuffle(instances)
    return instances


def _of_document(documents: list, index: int, words: list[str], max_length: int, draw: random.Random) -> list[tuple]:
    document = documents[index]
    room = max_length - 3
    target = draw.randint(2, room) if draw.random() < SHORT_SHARE else room
    instances = []
    chunk: list[list[str]] = []
    length = i = 0
    while i < len(document):
        chunk.append(document[i])
        length += len(document[i])
        if i == len(document) - 1 or length >= target:
            a_end = draw.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
            tokens_a = [token for sentence in chunk[:a_end] for token in sentence]
            tokens_b: list[str] = []
            is_random = len(chunk) == 1 or draw.random() < 0.5
            if is_random:
                for _ in range(10):
                    other = draw.randint(0, len(documents) - 1)
                    if other != index:
                        break
                start = draw.randint(0, len(documents[other]) - 1)
                for sentence in documents[other][start:]:
                    tokens_b.extend(sentence)
                    if len(tokens_b) >= target - len(tokens_a):
                        break
                i -= len(chunk) - a_end
            else:
                tokens_b = [token for sentence in chunk[a_end:] for token in sentence]
            _truncate(tokens_a, tokens_b, room, draw)
            tokens = ["[CLS]", *tokens_a, "[SEP]", *tokens_b, "[SEP]"]
            segments = [0] * (len(tokens_a) + 2) + [1] * (len(tokens_b) + 1)
            instances.append((*_masked(tokens, words, draw), segments, is_random))
            chunk, length = [], 0
        i += 1
    return instances


def _truncate(tokens_a: list[str], tokens_b: list[str], room: int, draw: random.Random) -> None:
    while len(tokens_a) + len(tokens_b) > room:
        longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
        if draw.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def _masked(tokens: list[str], words: list[str], draw: random.Random) -> tuple[list[str], list[int], list[str]]:
    places = [place for place, token in enumerate(tokens) if token not in ("[CLS]", "[SEP]")]
    draw.shuffle(places)
    hidden = list(tokens)
    count = min(int(MASK_SHARE * 1000), max(1, round(len(tokens) * MASK_SHARE)))
    chosen = []
    for place in places[:count]:
        if draw.random() < 0.8:
            hidden[place] = "[MASK]"
        elif draw.random() >= 0.5:
            hidden[place] = words[draw.randint(0, len(words) - 1)]
        chosen.append((place, tokens[place]))
    chosen.sort()
    return hidden, [place for place, _ in chosen], [token for _, token in chosen]


def main(text: str, vocabulary: str, max_length: int, duplicates: int) -> dict[str, float]:
    pieces = Path(vocabulary).read_text(encoding="utf-8").splitlines()
    began = time.perf_counter()
    tokenizer = PlainTokenizer({piece: number for number, piece in enumerate(pieces)})
    documents: list[list[list[str]]] = [[]]
    for line in Path(text).read_text(encoding="utf-8").splitlines():
        if not line.strip():
            documents.append([])
        elif tokens := tokenizer.tokenize(line.strip()):
            documents[-1].append(tokens)
    documents = [document for document in documents if document]
    instances = make_instances(documents, pieces, max_length, duplicates, random.Random(12345))
    number = tokenizer.vocabulary
    for hidden, _, truths, _, _ in instances:
        [number[token] for token in hidden], [number[token] for token in truths]
    return {"seconds": time.perf_counter() - began, "examples": len(instances)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
