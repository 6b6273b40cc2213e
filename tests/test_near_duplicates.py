"""Near-duplicates are found in scripts with and without spaces, and nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from components.validation.near_duplicates import find_near_duplicates, jaccard
from tests.reviews import reviews

CHARACTERS = (
    "酒店服务房间干净早餐便宜位置方便老板热情设施陈旧隔音很差下次还来推荐朋友入住价格合理环境安静交通停车场免费"
)


def arrow(texts):
    return pa.array(texts, pa.large_string())


def grams(text, size):
    return {text[place : place + size] for place in range(max(1, len(text) - size + 1))}


def plain_jaccard(one, other, size):
    ours, theirs = grams(one, size), grams(other, size)
    return len(ours & theirs) / len(ours | theirs)


def chinese(count, seed=1):
    draw = random.Random(seed)
    return ["".join(draw.choices(CHARACTERS, k=draw.randint(12, 40))) for _ in range(count)]


def spoiled(text, draw, alphabet):
    letters = list(text)
    letters[draw.randrange(len(letters))] = draw.choice(alphabet)
    return "".join(letters)


@pytest.mark.parametrize(
    ("make", "alphabet", "size"),
    [(lambda: [row["text"] for row in reviews(3000)], "abcdefgh", 3), (lambda: chinese(3000), CHARACTERS, 2)],
    ids=["English", "unspaced Chinese"],
)
def test_planted_near_duplicates_are_found_and_nothing_else(make, alphabet, size):
    texts, draw = make(), random.Random(3)
    train, held_out = texts[:2000], texts[2000:]
    planted = {place: spoiled(held_out[place], draw, alphabet) for place in range(500)}
    planted = {place: text for place, text in planted.items() if plain_jaccard(text, held_out[place], size) >= 0.8}
    for place, text in planted.items():
        train[place] = text
    found = find_near_duplicates([arrow(train)], [arrow(held_out)], 0.8)
    assert len(planted) > 100
    assert len(planted.keys() & set(found.left.tolist())) >= 0.97 * len(planted)
    pairs = zip(found.left.tolist(), found.right.tolist(), strict=True)
    assert all(plain_jaccard(train[left], held_out[right], size) >= 0.8 for left, right in pairs)


@pytest.mark.parametrize(
    ("one", "other"),
    [("my card was stolen", "my card was stolen yesterday"), ("good", "goods"), ("a", "b"), ("", "a"), ("ab", "ab")],
)
def test_similarity_is_the_plain_jaccard_similarity(one, other):
    pair = np.zeros(1, np.int64)
    assert jaccard(arrow([one]), arrow([other]), pair, pair)[0] == pytest.approx(
        0.0 if min(len(one), len(other)) == 0 else plain_jaccard(one, other, 3)
    )


def test_the_same_word_repeated_is_not_the_same_text():
    found = find_near_duplicates([arrow(["hahahahahahahaha"])], [arrow(["haha"])], 0.8)
    assert len(found.left) == 0


def test_equal_texts_are_always_found():
    texts = [row["text"] for row in reviews(300)]
    found = find_near_duplicates([arrow(texts)], [arrow(list(reversed(texts)))], 1.0)
    assert found.left.tolist() == list(range(300))
    assert found.right.tolist() == list(reversed(range(300)))
    assert set(found.similarity.tolist()) == {1.0}


def test_both_texts_of_a_pair_must_be_alike():
    questions = arrow(["how do i top up my card", "how do i top up my card"])
    answers = arrow(["use the app", "ask at the counter in the branch"])
    found = find_near_duplicates([questions, answers], [questions.slice(0, 1), answers.slice(0, 1)], 0.8)
    assert found.left.tolist() == [0]


@pytest.mark.parametrize("sides", [([], ["a"]), (["a"], []), ([], [])])
def test_an_empty_side_has_no_near_duplicates(sides):
    left, right = sides
    assert len(find_near_duplicates([arrow(left)], [arrow(right)], 0.8).left) == 0


def test_a_thousand_alike_rows_on_both_sides_take_no_longer_than_others():
    left = [f"your order {number} has been shipped to the address that you gave us" for number in range(2000)]
    right = [f"your order {number} has been shipped to the address that you gave us" for number in range(2000, 4000)]
    assert len(find_near_duplicates([arrow(left)], [arrow(right)], 0.8).left) == 2000


def test_a_very_long_text_is_compared_too():
    draw = random.Random(1)
    text = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=100_000))
    found = find_near_duplicates([arrow([text, "short"])], [arrow([text[:-50], "other"])], 0.8)
    assert found.left.tolist() == [0]
