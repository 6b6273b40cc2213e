"""Which tokens are hidden: the 15 % of BERT, token by token or in whole words."""

from __future__ import annotations

from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import ConfigError
from components.masks import mask_words
from components.masks.mask_drawing import IGNORED, draw_masks
from components.masks.mask_words import find_segmenter, word_begins
from components.task_types import Spec, find_task_type
from components.type_settings import wrong_settings

TYPE = find_task_type("fill_mask")
SPECIAL = {
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
PIECES = ("▁un", "believ", "able", "▁card", "s", ",", "▁我们", "今天", "去", "北京", "大学", "很", "好")


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_base: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base, local_files_only=True)


@pytest.fixture(scope="module")
def sentence_piece():
    """A tokenizer that marks the gaps between words, and whose pieces of Chinese are several characters long."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = [(piece, 0.0) for piece in SPECIAL.values()] + [(piece, -1.0) for piece in PIECES]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def words_of(tokenizer, text: str, segment=None) -> str:
    """A text's tokens, those of a word joined by +."""
    ids = np.array([tokenizer(text, add_special_tokens=False)["input_ids"]])
    begins = word_begins(ids, tokenizer, segment)[0]
    pieces = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    return "".join((" " if first else "+") + piece for first, piece in zip(begins, pieces, strict=True)).strip()


def test_a_word_has_all_its_pieces(tiny_tokenizer):
    assert words_of(tiny_tokenizer, "the kid, don't go") == "the k+##i+##d , do+##n ' t g+##o"
    assert words_of(tiny_tokenizer, "很好 hi很好") == "很 好 h+##i 很 好"


def test_pieces_without_a_gap_go_on_a_word_but_not_a_chinese_one(sentence_piece):
    assert words_of(sentence_piece, "unbelievable cards,s") == "▁un+believ+able ▁card+s , s"
    assert words_of(sentence_piece, "我们今天去北京大学") == "▁我们 今天 去 北京 大学"


def test_a_segmenter_says_which_chinese_characters_are_a_word(tiny_tokenizer, sentence_piece):
    segment = find_segmenter()
    assert (
        words_of(tiny_tokenizer, "今天酒店的服务很好, ok 银行", segment) == "今+天 酒+店 的 服+务 很 好 , o+##k 银+行"
    )
    assert words_of(sentence_piece, "我们今天去北京大学", segment) == "▁我们 今天 去 北京+大学"


def test_a_piece_that_crosses_the_border_of_words_begins_none(sentence_piece):
    assert words_of(sentence_piece, "我们今天很好", lambda run: [run[:2], *run[2:]]) == "▁我们 今天 很 好"
    assert words_of(sentence_piece, "我们去北京大学", lambda run: [run[:4], run[4:]]) == "▁我们+去+北京+大学"


def test_special_tokens_are_in_no_word(tiny_tokenizer):
    ids = np.array([tiny_tokenizer("kid")["input_ids"] + [0, 0]])
    hidden, truth = draw_masks(ids, tiny_tokenizer, (1,), begins=np.zeros(ids.shape, dtype=bool))
    assert truth.tolist() == [[IGNORED, *ids[0, 1:4], IGNORED, IGNORED, IGNORED]]
    assert word_begins(ids, tiny_tokenizer)[0].tolist() == [True, True, False, False, True, True, True]
    assert hidden[0, [0, 4, 5, 6]].tolist() == ids[0, [0, 4, 5, 6]].tolist()


words_of_lengths = st.lists(st.lists(st.integers(1, 7), max_size=20), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(lines=words_of_lengths, seed=st.integers(0, 2**31), most=st.none() | st.integers(1, 6))
def test_words_are_hidden_whole_and_not_more_than_was_wanted(tiny_tokenizer, lines, seed: int, most: int | None):
    width = 2 + max(map(sum, lines))
    ids, begins = np.zeros((len(lines), width), np.int64), np.ones((len(lines), width), dtype=bool)
    for line, sizes in enumerate(lines):
        flat = [place == 0 for size in sizes for place in range(size)]
        ids[line, : len(flat) + 2] = [2, *(range(5, 5 + len(flat))), 3]
        begins[line, 1 : len(flat) + 1] = flat
    _, truth = draw_masks(ids, tiny_tokenizer, (seed,), begins=begins, most=most)
    for line, sizes in enumerate(lines):
        chosen = (truth[line, 1 : sum(sizes) + 1] != IGNORED).tolist()
        edges = np.cumsum([0, *sizes]).tolist()
        words = [chosen[a:b] for a, b in pairwise(edges)]
        assert all(len(set(word)) == 1 for word in words)  # all of a word or nothing of it
        wanted = min(max(1, round(0.15 * (sum(sizes) + 2))), most or width)
        assert sum(chosen) <= wanted or [len(word) for word in words if word[0]] == [min(sizes)]
        left = wanted - sum(chosen)
        assert not any(len(word) <= left for word in words if not word[0])  # whatever still fits is taken


def test_every_word_is_as_likely_whatever_its_place(tiny_tokenizer):
    ids = np.tile(np.array([[2, *range(5, 45), 3]]), (4000, 1))
    begins = np.tile(np.arange(42) % 2 == 1, (4000, 1))  # twenty words of two tokens
    _, truth = draw_masks(ids, tiny_tokenizer, (3,), begins=begins)
    shares = (truth != IGNORED).mean(axis=0)[1:-1]
    assert shares == pytest.approx(np.full(40, 6 / 40), abs=0.025)  # 15 % of 42 are six tokens, three words


def test_the_setting_decides_what_is_hidden_together(tiny_tokenizer):
    import torch

    inputs = {"input_ids": torch.tensor([tiny_tokenizer("kid kid kid 今天酒店服务 " * 4)["input_ids"]])}
    words = {"none": set(), "pieces": set(), "chinese": set()}
    for setting, found in words.items():
        for seed in range(20):
            spec = Spec((), 64, 16, {"whole_words": setting})
            prepared = TYPE.prepare(inputs, tiny_tokenizer, spec, (seed,))
            hidden = (prepared["labels"][0] != IGNORED).tolist()
            kinds = ["latin" if place % 15 < 9 else "chinese" for place in range(60)]
            runs = groupby(zip(hidden[1:], kinds, strict=False))
            found |= {(kind, len(list(run)) % {"latin": 3, "chinese": 2}[kind]) for (own, kind), run in runs if own}
    assert {(kind, 0) for kind in ("latin", "chinese")} == words["chinese"]  # whole words alone
    assert ("latin", 0) in words["pieces"]
    assert ("chinese", 1) in words["pieces"]
    assert not {("latin", 1), ("latin", 2)} & words["pieces"]
    assert {("latin", 1), ("chinese", 1)} <= words["none"]


def test_a_missing_segmenter_is_named_in_the_run_file(monkeypatch: pytest.MonkeyPatch):
    assert TYPE.settings.model_validate({"whole_words": "chinese"}).whole_words == "chinese"
    monkeypatch.setattr(mask_words, "SEGMENTER", "no_such_segmenter")
    [problem] = wrong_settings({"task": {"whole_words": "chinese"}}, TYPE)
    assert "pip install no_such_segmenter" in problem["msg"]
    with pytest.raises(ConfigError, match="not installed"):
        find_segmenter()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_masks_are_drawn_as_in_bert(tiny_tokenizer, seed: int, lengths: list[int]):
    draw = np.random.default_rng(seed)
    special = tiny_tokenizer.all_special_ids
    lines = [[2, *draw.integers(5, len(tiny_tokenizer), n), 3] for n in lengths]
    ids = np.array([line + [0] * (62 - len(line)) for line in lines], np.int64)
    hidden, truth = draw_masks(ids, tiny_tokenizer, (seed, 1))
    chosen = truth != IGNORED
    assert not np.isin(ids[chosen], special).any()
    assert (hidden[~chosen] == ids[~chosen]).all()
    assert (truth[chosen] == ids[chosen]).all()
    expected = [min(n, max(1, round((n + 2) * 0.15))) for n in lengths]
    assert chosen.sum(axis=1).tolist() == expected
    again = draw_masks(ids, tiny_tokenizer, (seed, 1))
    assert (again[0] == hidden).all()
    assert (again[1] == truth).all()


def test_of_the_drawn_tokens_80_percent_are_masked_and_10_replaced(tiny_tokenizer):
    ids = np.random.default_rng(0).integers(5, len(tiny_tokenizer), (400, 100))
    hidden, truth = draw_masks(ids, tiny_tokenizer, (0,))
    chosen = truth != IGNORED
    assert chosen.mean() == pytest.approx(0.15)
    masked = hidden[chosen] == tiny_tokenizer.mask_token_id
    changed = ~masked & (hidden[chosen] != ids[chosen])
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    assert changed.mean() == pytest.approx(0.1, abs=0.015)
    assert not np.isin(hidden[chosen & (hidden != tiny_tokenizer.mask_token_id)], tiny_tokenizer.all_special_ids).any()
