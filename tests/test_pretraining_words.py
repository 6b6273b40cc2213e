"""Ids word by word are those of whole texts, whatever stands in them, for every kind of tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace

from components.pretraining import word_ids
from components.pretraining.word_ids import WordIds

PIECES = ["[UNK]", "[MASK]", "the", "cat", "##s", "don", "'", "t", "中", "文", "a", "##a", "é", "e", "1", "##2", "."]


def bert(*, chinese: bool = True) -> Tokenizer:
    rust = Tokenizer(WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    rust.normalizer = BertNormalizer(lowercase=True, handle_chinese_chars=chinese)
    rust.pre_tokenizer = BertPreTokenizer()
    rust.add_special_tokens(["[UNK]", "[MASK]"])
    return rust


PARTS = st.sampled_from(
    ["the", " ", "cats", "don't", "中文", "\u3000", "\u00a0", "\x1c", "\t", "e\u0301", "[MASK]", "."]
)
TEXTS = st.lists(st.lists(PARTS | st.text(max_size=3), max_size=12).map("".join), max_size=5)
KINDS = {"bert": bert(), "characters in words": bert(chinese=False)}


@pytest.mark.parametrize("kind", KINDS)
@given(batches=st.lists(TEXTS, max_size=3))
@example(batches=[["the cats ", "", " 中文cats\u0301中 "], ["the 𠀀中\u0301 [MASK]the"]])
def test_the_ids_are_those_of_whole_texts(kind, batches):
    words = WordIds(KINDS[kind])
    for texts in batches:
        wanted = [each.ids for each in KINDS[kind].encode_batch_fast(texts, add_special_tokens=False)]
        ids, lengths = words.encode(texts)
        assert ids.tolist() == [number for each in wanted for number in each]
        assert lengths.tolist() == list(map(len, wanted))


def test_a_tokenizer_that_may_read_across_spaces_reads_whole_texts():
    rust = Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    rust.pre_tokenizer = Whitespace()
    words = WordIds(rust)
    assert not words.by_word
    assert [part.tolist() for part in words.encode(["a a", "b"])] == [[1, 1, 0], [2, 1]]


def test_words_without_end_are_forgotten(monkeypatch):
    monkeypatch.setattr(word_ids, "MOST_WORDS", 3)
    words = WordIds(bert())
    for text in ("the cat", "a 1 don", "the a"):
        assert words.encode([text])[0].tolist() == bert().encode(text, add_special_tokens=False).ids
    assert len(words.numbers) <= 3
