from __future__ import annotations

import json
import re
import string
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.answers.answer_metrics import (
    answer_metrics,
    answer_scores,
    answer_statistic,
    cmrc_exact_match,
    cmrc_f1,
    exact_match,
    f1,
    is_chinese,
    mixed_segments,
    squad_exact_match,
    squad_f1,
    squad_normalised,
)
from components.task_types.base import json_text

ENGLISH = st.lists(
    st.sampled_from(
        ["the", "a", "An", "cat", "CAT", "sat.", "on", "mat,", "3.14", "it's", "-", " ", "theatre", "é", "“x”"]
    ),
    max_size=7,
).map(" ".join)
MIXED = st.text(st.sampled_from("中国人民大会的了是北京AaB1 2.，。：-（）《》…·、\t"), max_size=14)
CMRC_LIST = [*"-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』", "……"]


def label(*texts: str) -> str:
    return json_text({"text": list(texts), "answer_start": [0] * len(texts)})


def official_squad_tokens(text: str) -> list[str]:
    lowered = text.lower()
    without = "".join(character for character in lowered if character not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", without).split()


def official_squad(truths: list[str], said: str) -> tuple[float, float]:
    golds = [truth for truth in truths if " ".join(official_squad_tokens(truth))] or [""]
    exact, overlap = [], []
    given_tokens = official_squad_tokens(said)
    for gold in golds:
        wanted = official_squad_tokens(gold)
        exact.append(int(" ".join(wanted) == " ".join(given_tokens)))
        same = sum((Counter(wanted) & Counter(given_tokens)).values())
        if not wanted or not given_tokens:
            overlap.append(int(wanted == given_tokens))
        elif same == 0:
            overlap.append(0)
        else:
            precision, recall = same / len(given_tokens), same / len(wanted)
            overlap.append(2 * precision * recall / (precision + recall))
    return max(exact), max(overlap)


def official_segments(text: str) -> list[str]:
    """The script with our stand-in for NLTK's words, which is only ever given what is between Chinese characters."""
    segments, word = [], ""
    for character in text.lower().strip():
        if character in CMRC_LIST:
            continue
        if re.match("[\u4e00-\u9fa5]", character):
            segments += [*re.findall(r"\w+(?:\.\w+|,\d\w*)*|[^\w\s]", word), character]
            word = ""
        else:
            word += character
    return segments + re.findall(r"\w+(?:\.\w+|,\d\w*)*|[^\w\s]", word)


def longest_common_substring(one: list[str], other: list[str]) -> int:
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if left == right else 0
    return max(map(max, lengths))


def official_cmrc(truth: str, said: str) -> tuple[float, float]:
    clean = ["".join(c for c in text.lower().strip() if c not in CMRC_LIST) for text in (truth, said)]
    wanted, given_segments = official_segments(truth), official_segments(said)
    common = longest_common_substring(wanted, given_segments)
    if common == 0:
        return float(clean[0] == clean[1]), 0.0
    precision, recall = common / len(given_segments), common / len(wanted)
    return float(clean[0] == clean[1]), 2 * precision * recall / (precision + recall)


@settings(max_examples=1000, deadline=None)
@given(st.lists(ENGLISH, max_size=3), ENGLISH)
def test_english_scores_are_those_of_the_official_squad_script(truths: list[str], said: str):
    exact, overlap = official_squad(truths, said)
    assert (exact_match(label(*truths), said), f1(label(*truths), said)) == pytest.approx((exact, overlap))


@settings(max_examples=1000, deadline=None)
@given(MIXED, MIXED)
def test_chinese_scores_are_those_of_the_official_cmrc_script(truth: str, said: str):
    exact, overlap = official_cmrc(truth, said)
    assert cmrc_exact_match(truth, said) == exact
    if mixed_segments(truth) or mixed_segments(said):  # where both are empty, the script says 0 and we say 1
        assert cmrc_f1(truth, said) == pytest.approx(overlap)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_scores_of_any_text_are_shares_and_highest_for_the_truth_itself(truth: str, said: str):
    for score in (squad_exact_match, squad_f1, cmrc_exact_match, cmrc_f1):
        assert 0 <= score(truth, said) <= 1
        assert score(truth, truth) == 1


def test_worked_values():
    assert squad_normalised("The  U.S. Army's, an!") == "us armys"
    assert squad_f1("the cat sat", "cat sat down") == pytest.approx(0.8)
    assert squad_f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert cmrc_f1("北京大学", "在北京大学") == pytest.approx(2 * 4 / 9)
    assert cmrc_f1("北京的大学", "北京大学") == pytest.approx(2 * 2 / 9)  # a substring, not a subsequence
    assert mixed_segments("NBA 3.14 中国，Hello!") == ["nba", "3.14", "中", "国", "hello", "!"]


def test_the_best_true_answer_counts():
    assert exact_match(label("Paris", "the city of Paris"), "paris!") == 1
    assert f1(label("乔布斯", "史蒂夫·乔布斯"), "史蒂夫乔布斯") == 1


def test_the_language_of_the_truth_decides_and_of_the_answer_where_there_is_no_truth():
    assert is_chinese("2008年北京奥运会")
    assert is_chinese("1953年")
    assert not is_chinese("Beijing, 28")
    assert not is_chinese("")
    assert f1(label("北京"), "the 北京") == pytest.approx(0.8)  # for CMRC, "the" is a word
    assert f1(label(), "the") == 1  # for SQuAD it is no answer
    assert f1(label(), "北京") == 0


def test_no_answer_is_right_where_there_is_none_and_wrong_where_there_is_one():
    assert (exact_match(label(), ""), f1(label(), "")) == (1, 1)
    assert (exact_match(label("cat"), ""), f1(label("cat"), "")) == (0, 0)
    assert (exact_match(label(), "cat"), f1(label(), "cat")) == (0, 0)


def test_metrics_tell_rows_with_and_without_an_answer_apart():
    truths = [label("five people"), label("at eight"), label(), label()]
    found = answer_metrics(truths, ["five people", "eight", "", "noon"])
    assert found == pytest.approx(
        {"f1": (1 + 2 / 3 + 1) / 4, "exact_match": 0.5, "has_answer_f1": (1 + 2 / 3) / 2, "no_answer_accuracy": 0.5}
    )
    assert set(answer_metrics(truths[:2], ["", ""])) == {"f1", "exact_match", "has_answer_f1"}


@pytest.mark.parametrize("metric", ["f1", "exact_match"])
def test_the_statistic_of_drawn_rows_is_the_metric_of_those_rows(metric: str):
    draw = np.random.default_rng(0)
    words = ["cat", "the mat", "北京", "", "three cats"]
    truths = [label(word) if word else label() for word in draw.choice(words, 40)]
    said = draw.choice(words, 40).tolist()
    statistic = answer_statistic(metric, truths, said)
    drawn = draw.integers(0, 40, (5, 40))
    weights = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(np.float64)
    expected = [answer_metrics([truths[i] for i in row], [said[i] for i in row])[metric] for row in drawn]
    assert statistic(weights) == pytest.approx(expected)


def test_thousands_of_rows_are_scored_in_seconds():
    truths = [label("国" * 60 + str(row), "中" * 60) for row in range(3000)]
    began = time.perf_counter()
    scores = answer_scores("f1", truths, ["国" * 55] * 3000)
    statistic = answer_statistic("f1", truths, ["国" * 55] * 3000)
    statistic(np.ones((1000, 3000)))
    assert scores[0] == pytest.approx(2 * 55 / (61 + 55))
    assert time.perf_counter() - began < 10


def test_what_was_said_makes_a_number_chinese_as_well():
    truth = json.dumps({"text": ["1992"], "answer_start": [0]})
    assert f1(truth, "1992年") == pytest.approx(2 / 3)
    assert exact_match(truth, "《1992》") == 1.0
    assert exact_match(truth, "1992") == 1.0
    assert f1(truth, "in 1992") == pytest.approx(2 / 3)
