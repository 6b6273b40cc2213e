"""Texts are compared as readers see them, and a text's split never changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import SplitShares
from components.data.text import letters, letters_of_all, normalise_all, normalised, split_of, split_of_letters

SHARES = SplitShares(validation=0.1, test=0.2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Great FILM", "great film"),
        ("great\u3000film", "great film"),
        (" great \t\r\n film\u00a0", "great film"),
        ("ｇｒｅａｔ　ｆｉｌｍ！", "great film!"),
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁne", "fine"),
        ("Straße", "STRASSE"),
        ("\ufeffgreat\u200b fi\u00adlm", "great film"),
        ("“don’t”—ever", '"don\'t"-ever'),
        ("服务 很 好", "服务很好"),
        ("好，真的好。", "好,真的好."),
        ("great\x00film", "great film"),
    ],
)
def test_what_looks_the_same_is_the_same(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("good :)", "good :("), ("now here", "nowhere"), ("3.5", "35"), ("한 국", "한국")]
)
def test_what_reads_differently_stays_different(one, other):
    assert normalised(one) != normalised(other)


def test_letters_leave_punctuation_out():
    assert letters("Great -- film!!!") == letters("great film")
    assert letters("服务，很好！") == letters("服务很好")


def test_a_text_of_punctuation_alone_keeps_it():
    assert letters("?!") == "?!"
    assert letters("...") != letters("?!")


@given(st.lists(st.text(max_size=20), max_size=8))
def test_many_texts_at_once_are_evened_out_like_each_alone(texts):
    plain = normalise_all(texts)
    assert plain == [normalised(text) for text in texts]
    assert letters_of_all(plain) == [letters(text) for text in texts]


@given(st.text(max_size=30))
def test_evening_out_twice_changes_nothing(text):
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("The room was clean and quiet.", "train"),
        ("I lost my card at the airport", "train"),
        ("When will my transfer arrive?", "train"),
        ("服务很好，房间干净。", "train"),
        ("这本书太无聊了", "train"),
        ("Überweisung fehlgeschlagen", "test"),
        ("not worth the money", "train"),
        ("a", "validation"),
        ("b", "train"),
        ("c", "validation"),
        ("early train", "train"),
        ("late train", "train"),
        ("blue jacket", "train"),
    ],
)
def test_a_texts_split_is_for_ever(text, split):
    assert split_of(text, SHARES) == split


def test_variants_of_a_text_share_its_split():
    for number in range(50):
        assert split_of(f"Review No {number}!", SHARES) == split_of(f"review  no {number}", SHARES)


def test_a_larger_share_for_validation_moves_no_test_row():
    wider = SplitShares(validation=0.4, test=0.2)
    for number in range(200):
        assert (split_of(str(number), SHARES) == "test") == (split_of(str(number), wider) == "test")


def test_splits_have_about_the_asked_shares():
    splits = [split_of_letters(str(number), SHARES) for number in range(5000)]
    assert abs(splits.count("test") / 5000 - 0.2) < 0.02
    assert abs(splits.count("validation") / 5000 - 0.1) < 0.015
