"""The sampling rules, on real text in both languages and against the plain way to do it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.masks.mask_drawing import IGNORED
from components.pretraining.draws import uniform
from components.pretraining.masks import FATE, PRIORITY, REPLACEMENT, MaskRule, hide
from components.pretraining.pairs import Cutting, TokenizedCorpus, cut_into_pairs, cut_into_pieces
from tests.plain_pairs import masks, pairs_of_document
from tests.pretraining_text import CHINESE, ENGLISH, documents_of

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PLAIN_DOCUMENTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=2, max_size=8)


def corpus_of(lengths: list[list[int]]) -> tuple[TokenizedCorpus, list[list[list[int]]]]:
    """A corpus whose tokens are 0, 1, 2 …, from the lengths of each document's sentences, and the same as lists."""
    sentences = np.concatenate([[0], np.cumsum([length for own in lengths for length in own])])
    documents = np.concatenate([[0], np.cumsum([len(own) for own in lengths])])
    spans = [list(range(a, b)) for a, b in itertools.pairwise(sentences)]
    plain = [spans[a:b] for a, b in itertools.pairwise(documents)]
    return TokenizedCorpus(sentences, documents), plain


def plain_pairs(documents, cutting: Cutting):
    found = []
    for lane in range(len(documents) * cutting.duplicates):

        def draw(purpose: int, *counters: int, lane: int = lane) -> float:
            return float(uniform(cutting.seed, purpose, lane, *counters))

        index = lane % len(documents)
        found += pairs_of_document(documents, index, cutting.room, cutting.short_share, draw)
    return found


def as_lists(made):
    rows = zip(made.a_start, made.a_end, made.b_start, made.b_end, made.random, strict=True)
    return [(list(range(a, b)), list(range(c, d)), bool(random)) for a, b, c, d, random in rows]


@settings(max_examples=150, deadline=None)
@given(PLAIN_DOCUMENTS, st.integers(5, 40), st.integers(0, 2**63), st.integers(1, 3), st.floats(0, 1))
def test_pairs_are_those_of_the_plain_algorithm(lengths, max_length, seed, duplicates, short_share):
    corpus, documents = corpus_of(lengths)
    cutting = Cutting(max_length, short_share, duplicates, seed, special=3)
    assert as_lists(cut_into_pairs(corpus, cutting)) == plain_pairs(documents, cutting)


@pytest.mark.parametrize("source", [ENGLISH, CHINESE])
@pytest.mark.parametrize(("max_length", "duplicates"), [(64, 3), (128, 1)])
def test_pairs_of_real_sentences_are_those_of_the_plain_algorithm(source, max_length, duplicates):
    # A Chinese sign is a token of its own, and so is a comma; longer English words would be several.
    token = re.compile("[\u4e00-\u9fff]|[A-Za-z0-9]+|[^\\w\\s]")
    lengths = [[max(1, len(token.findall(line))) for line in own] for own in documents_of(source)[:60]]
    corpus, documents = corpus_of(lengths)
    cutting = Cutting(max_length, 0.1, duplicates, 7, special=3)
    made = as_lists(cut_into_pairs(corpus, cutting))
    assert made == plain_pairs(documents, cutting)
    assert len(made) > 100
    assert {random for *_, random in made} == {False, True}


@settings(max_examples=100, deadline=None)
@given(PLAIN_DOCUMENTS, st.integers(5, 40), st.integers(0, 1000))
def test_a_pair_fits_and_its_second_segment_follows_or_comes_from_another_document(lengths, max_length, seed):
    corpus, _ = corpus_of(lengths)
    made = cut_into_pairs(corpus, Cutting(max_length, 0.1, 2, seed, special=3))
    document = np.searchsorted(corpus.sentences[corpus.documents], np.arange(corpus.sentences[-1]), side="right")
    for a, b, random in as_lists(made):
        assert len(a) >= 1
        assert len(b) >= 1
        assert len(a) + len(b) <= max_length - 3
        assert len({document[token] for token in a}) == len({document[token] for token in b}) == 1
        if random:
            assert document[a[0]] != document[b[0]]
        else:
            assert document[a[0]] == document[b[0]]
            assert a[-1] < b[0]


@settings(max_examples=100, deadline=None)
@given(PLAIN_DOCUMENTS, st.integers(4, 40), st.integers(0, 1000), st.integers(1, 3))
def test_pieces_hold_every_token_of_every_document_once_for_each_time(lengths, max_length, seed, duplicates):
    corpus, _ = corpus_of(lengths)
    made = cut_into_pieces(corpus, Cutting(max_length, 0.1, duplicates, seed, special=2))
    tokens = np.concatenate([np.arange(a, b) for a, b in zip(made.a_start, made.a_end, strict=True)])
    assert (np.bincount(tokens, minlength=corpus.sentences[-1]) == duplicates).all()
    assert (made.a_end - made.a_start).max() <= max_length - 2
    borders = corpus.sentences[corpus.documents]
    assert (np.searchsorted(borders, made.a_start, "right") == np.searchsorted(borders, made.a_end - 1, "right")).all()


SEQUENCE = st.lists(st.tuples(st.integers(10, 99), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(SEQUENCE, min_size=1, max_size=5), st.integers(0, 2**63), st.integers(0, 9), st.booleans())
def test_masks_are_those_of_the_plain_algorithm(lines, seed, epoch, whole_words):
    width = max(map(len, lines)) + 2
    rows = [[1, *(token for token, _ in line), 2] for line in lines]
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    follows = [[False, *(flag for _, flag in line), False] for line in lines]
    followers = np.array([row + [False] * (width - len(row)) for row in follows])
    lengths = np.array(list(map(len, rows)))
    rule = MaskRule(0.15, 3, np.arange(10, 100), whole_words, seed)
    numbers = np.arange(len(rows)) * 7
    hidden, truths = hide(ids, lengths, ids < 3, followers, numbers, np.full(len(rows), epoch), rule)
    for line, row in enumerate(rows):
        places = np.arange(len(row))
        draws = [uniform(seed, purpose, epoch, numbers[line], places) for purpose in (PRIORITY, FATE, REPLACEMENT)]
        begins = [not (follow and whole_words) for follow in follows[line]]
        replacement = [int(10 + int(draw * 90)) for draw in draws[2]]
        special = [token < 3 for token in row]
        expected, own = masks(row, begins, special, 0.15, list(draws[0]), list(draws[1]), replacement, 3)
        assert hidden[line, : len(row)].tolist() == expected
        assert {place: int(t) for place, t in enumerate(truths[line]) if t != IGNORED} == own
    assert (hidden[ids == 0] == 0).all()


def many_masks(whole_words: bool):
    ids = np.random.default_rng(5).integers(10, 100, (3000, 64))
    ids[:, 0], ids[:, 40], ids[:, -1] = 1, 2, 2
    followers = np.random.default_rng(6).random(ids.shape) < 0.4
    rule = MaskRule(0.15, 3, np.arange(10, 100), whole_words, seed=11)
    lengths, epochs = np.full(3000, 64), np.zeros(3000, np.int64)
    return ids, followers, *hide(ids, lengths, ids < 3, followers, np.arange(3000), epochs, rule)


@pytest.mark.parametrize("whole_words", [False, True])
def test_fifteen_percent_are_hidden_and_of_these_80_10_10(whole_words):
    ids, _, hidden, truths = many_masks(whole_words)
    chosen = truths != IGNORED
    # round(0.15 * 64) = 10 of each line; of whole words now and then one less, where only longer ones are left
    assert chosen.sum(axis=1).mean() == pytest.approx(10, abs=0.1 if whole_words else 0)
    assert not chosen[ids < 3].any()
    count = chosen.sum()
    assert (hidden[chosen] == 3).sum() / count == pytest.approx(0.8, abs=0.01)
    # One in ninety random tokens is the token itself.
    assert (hidden[chosen] == ids[chosen]).sum() / count == pytest.approx(0.1 + 0.1 / 90, abs=0.01)
    assert (hidden[~chosen] == ids[~chosen]).all()
    assert np.bincount(np.where(chosen)[1], minlength=64)[[1, 20, 39, 41, 62]].std() < 100  # every place alike


def test_of_a_whole_word_all_pieces_are_hidden_or_none():
    ids, followers, _, truths = many_masks(whole_words=True)
    chosen = truths != IGNORED
    goes_on = followers[:, 1:] & (ids[:, 1:] > 2) & (ids[:, :-1] > 2)
    assert (chosen[:, 1:][goes_on] == chosen[:, :-1][goes_on]).all()
    assert goes_on.sum() > 10_000


def test_other_epochs_hide_other_tokens_and_other_batches_the_same():
    ids = np.random.default_rng(5).integers(10, 100, (8, 32))
    rule = MaskRule(0.15, 3, np.arange(10, 100), False, seed=1)

    def hidden(rows, epoch):
        part = ids[rows]
        none = np.zeros(part.shape, bool)
        return hide(part, np.full(len(rows), 32), none, none, np.array(rows), np.full(len(rows), epoch), rule)[0]

    everything = hidden(list(range(8)), 0)
    assert (hidden([5, 2], 0) == everything[[5, 2]]).all()
    assert (hidden(list(range(8)), 1) != everything).any(axis=1).all()


def test_draws_are_even_and_independent_of_each_other():
    draws = uniform(3, 1, np.arange(1000)[:, None], np.arange(100))
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert (
        (counts - 5000) ** 2 / 5000
    ).sum() < 45  # chi-squared with 19 degrees of freedom: one in a thousand is above 44
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(draws.ravel(), uniform(3, 2, np.arange(1000)[:, None], np.arange(100)).ravel())[0, 1]) < 0.01
