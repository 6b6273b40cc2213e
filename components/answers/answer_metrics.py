"""Exact match and F1 of an answer, by the rules of the official scripts: SQuAD's for words, CMRC's for Chinese.

In: the true answers of a row as its label spells them, `{"text": [...], "answer_start": [...]}`, and the text that was
said, empty where the question was left unanswered. A row is judged by CMRC's rules if any of its true answers or
what was said has a Chinese character or mark: 1992 is a true answer in both languages, and shares a part with 1992年 by
CMRC's rules alone. The best over all true answers of a row counts.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

from components.task_types.base import Numbers, Statistic

CHINESE = re.compile("[\u4e00-\u9fa5]")  # what CMRC's script takes for a Chinese character
CHINESE_MARKS = frozenset("，。：？！；《》、「」（）『』")
ARTICLES = re.compile(r"\b(a|an|the)\b")
# What CMRC's script removes. It lists two dots "……" as one sign, which its loop over characters never meets.
CMRC_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# Words between Chinese characters. CMRC's script has NLTK cut them; this keeps 3.14 and 1,000 together as NLTK does,
# but knows no English contractions (it's, don't).
WORDS = re.compile(r"\w+(?:\.\w+|,\d\w*)*|[^\w\s]")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
REMEMBERED = 1 << 16  # rows whose scores are kept: metrics, quality and intervals all ask for the same


def true_answers(label: str) -> list[str]:
    """The texts of a row's true answers; none where the context does not answer the question."""
    texts: list[str] = json.loads(label)["text"]
    return texts


def exact_match(label: str, said: str) -> float:
    """1.0 if what was said is one of the true answers after normalisation, else 0.0."""
    return _scores(label, said)[0]


def f1(label: str, said: str) -> float:
    """The harmonic mean of precision and recall of what was said, against the true answer where it is highest."""
    return _scores(label, said)[1]


@lru_cache(maxsize=REMEMBERED)
def _scores(label: str, said: str) -> tuple[float, float]:
    truths = true_answers(label)
    chinese = is_chinese("".join([*truths, said]))
    exact, overlap = (cmrc_exact_match, cmrc_f1) if chinese else (squad_exact_match, squad_f1)
    if not chinese:  # as SQuAD 2.0's script does; an answer of nothing but articles and punctuation is none
        truths = [truth for truth in truths if squad_normalised(truth)]
    return tuple(max(score(truth, said) for truth in truths or [""]) for score in (exact, overlap))  # type: ignore[return-value]


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character or mark: one among digits, as in 1953年, makes an answer Chinese."""
    return CHINESE.search(text) is not None or not CHINESE_MARKS.isdisjoint(text)


def squad_normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous white space.

    Source: normalize_answer of evaluate-v2.0.py, the same as in evaluate-v1.1.py.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def squad_exact_match(truth: str, said: str) -> float:
    """Source: compute_exact of evaluate-v2.0.py."""
    return float(squad_normalised(truth) == squad_normalised(said))


def squad_f1(truth: str, said: str) -> float:
    """F1 over the words that both have, each as often as in both.

    Source: compute_f1 of evaluate-v2.0.py; evaluate-v1.1.py gives the same for answers that hold a word.
    """
    wanted, given = squad_normalised(truth).split(), squad_normalised(said).split()
    if not wanted or not given:
        return float(wanted == given)
    return _harmonic_mean((Counter(wanted) & Counter(given)).total(), len(wanted), len(given))


def cmrc_exact_match(truth: str, said: str) -> float:
    """Source: calc_em_score of cmrc2018_evaluate.py."""
    return float(_without_signs(truth) == _without_signs(said))


def cmrc_f1(truth: str, said: str) -> float:
    """F1 over the longest run of Chinese characters and words that both have, punctuation left out.

    Source: calc_f1_score of cmrc2018_evaluate.py, whose `find_lcs` looks for a substring and not for a subsequence.
    Two empty answers agree, which that script never meets.
    """
    wanted, given = mixed_segments(truth), mixed_segments(said)
    if not wanted or not given:
        return float(wanted == given)
    common = SequenceMatcher(None, wanted, given, autojunk=False).find_longest_match().size
    return _harmonic_mean(common, len(wanted), len(given))


def mixed_segments(text: str) -> list[str]:
    """Each Chinese character and each word between them, punctuation left out.

    Source: mixed_segmentation of cmrc2018_evaluate.py; `WORDS` says what stands for NLTK.
    """
    segments: list[str] = []
    for part in re.split("([\u4e00-\u9fa5])", _without_signs(text)):
        segments += [part] if CHINESE.match(part) else WORDS.findall(part)
    return segments


def _without_signs(text: str) -> str:
    return "".join(character for character in text.lower().strip() if character not in CMRC_SIGNS)


def _harmonic_mean(common: int, wanted: int, given: int) -> float:
    return 2 * common / (wanted + given) if common else 0.0


METRICS: dict[str, Callable[[str, str], float]] = {"f1": f1, "exact_match": exact_match}


def answer_scores(metric: str, truths: Sequence[str], said: Sequence[str]) -> Numbers:
    """One of METRICS of each row."""
    score = METRICS[metric]
    return np.fromiter((score(truth, text) for truth, text in zip(truths, said, strict=True)), np.float64, len(truths))


def answer_metrics(truths: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """The means of METRICS over all rows; where some have no answer in their context, also by that.

    `has_answer_f1` is the F1 of rows with an answer, `no_answer_accuracy` the share of the others that were left
    unanswered; each only where there are such rows.
    """
    by_row = {metric: answer_scores(metric, truths, said) for metric in METRICS}
    answered = np.array([bool(true_answers(truth)) for truth in truths])
    found = {metric: float(scores.mean()) for metric, scores in by_row.items()}
    if answered.any():
        found["has_answer_f1"] = float(by_row["f1"][answered].mean())
    if not answered.all():
        unsaid = np.array([not text for text in said])
        found["no_answer_accuracy"] = float(unsaid[~answered].mean())
    return found


def answer_statistic(metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
    """One of METRICS as a function of how often each row is drawn."""
    scores = answer_scores(metric, truths, said)

    def mean(weights: Numbers) -> Numbers:
        result: Numbers = weights @ scores / weights.sum(axis=1)
        return result

    return mean
