"""What needs no BERT: TF-IDF with linear models, a dictionary of entities, word overlap, the most frequent answer.

Run by benchmarks/quality.py; writes the answers under the name of the baseline. Fitted on the same training rows.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from quality_job import Job, Row, Span, best_threshold, parse_options, spans_of_bio, write_answers

BORDERS = {"en": re.compile(r"(?<=[.!?;,])\s+"), "zh": re.compile("(?<=[。！？；，、])")}


def main() -> None:
    options = parse_options(__doc__)
    job = Job.load(options.job)
    began = time.perf_counter()
    name, answers = BASELINES[job.task_type](job)
    write_answers(options.scratch, answers, time.perf_counter() - began, name=name)


def _classify(job: Job) -> tuple[str, list[str]]:
    from sklearn.linear_model import LogisticRegression

    train, test = _features(job, "train", "test")
    model = LogisticRegression(C=10, max_iter=1000).fit(train, [row["label"] for row in job.rows("train")])
    return "tf-idf + logistic regression", model.predict(test).tolist()


def _tag(job: Job) -> tuple[str, list[list[str]]]:
    """One logistic regression a label, decided by a threshold that is fitted on the validation rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    train, validation, test = _features(job, "train", "validation", "test")
    rows = job.rows("train")
    labels = [label for label in job.labels if any(label in row["labels"] for row in rows)]
    actual = np.array([[label in row["labels"] for label in labels] for row in rows]).astype(int)
    model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000)).fit(train, actual)
    truths = [row["labels"] for row in job.rows("validation")]
    given = model.predict_proba(test) >= best_threshold(truths, model.predict_proba(validation), labels)
    answers = [[label for label, yes in zip(labels, row, strict=True) if yes] for row in given]
    return "tf-idf + one-vs-rest", answers


def _regress(job: Job) -> tuple[str, list[float]]:
    from sklearn.linear_model import Ridge

    train, test = _features(job, "train", "test")
    model = Ridge(alpha=1.0).fit(train, [row["value"] for row in job.rows("train")])
    return "tf-idf + ridge", model.predict(test).tolist()


def _features(job: Job, *splits: str) -> list[Any]:
    """TF-IDF of each text; of a pair what differs, what both have, and the cosine."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = {"ngram_range": (1, 3), "analyzer": "char"} if job.language == "zh" else {"ngram_range": (1, 2)}
    rows = {split: job.rows(split) for split in splits}
    sides = [name for name in ("text", "text_pair") if name in rows["train"][0]]
    vectors = TfidfVectorizer(sublinear_tf=True, **words).fit([row[name] for row in rows["train"] for name in sides])
    found = []
    for own in rows.values():
        first, *second = (vectors.transform([row[name] for row in own]) for name in sides)
        if not second:
            found.append(first)
            continue
        both = first.multiply(second[0])
        found.append(hstack([abs(first - second[0]), both, csr_matrix(both.sum(axis=1))]).tocsr())
    return found


def _look_up(job: Job) -> tuple[str, list[list[Span]]]:
    """The longest entity of the training rows that begins at a token, with its most frequent label.

    An entity that stands there without a label more often than with one is not looked up.
    """
    rows = job.rows("train")
    labels: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for first, end, label in spans_of_bio(row["tags"]):
            labels[tuple(row["tokens"][first:end])][label] += 1
    longest = max(map(len, labels), default=0)
    seen = Counter(part for row in rows for _, _, part in _parts(row["tokens"], longest) if part in labels)
    usual = {part: own.most_common(1)[0] for part, own in labels.items()}
    known = {part: label for part, (label, count) in usual.items() if 2 * count >= seen[part]}
    return "dictionary of training entities", [_matches(row["tokens"], known, longest) for row in job.rows("test")]


def _parts(tokens: list[str], longest: int) -> list[tuple[int, int, tuple[str, ...]]]:
    return [
        (first, end, tuple(tokens[first:end]))
        for first in range(len(tokens))
        for end in range(min(len(tokens), first + longest), first, -1)
    ]


def _matches(tokens: list[str], known: dict[tuple[str, ...], str], longest: int) -> list[Span]:
    spans: list[Span] = []
    for first, end, part in _parts(tokens, longest):  # from left to right, the longest first
        if part in known and (not spans or first >= spans[-1][1]):
            spans.append((first, end, known[part]))
    return spans


def _overlap(job: Job) -> tuple[str, list[str]]:
    """The clause that shares most with the question, weighted by how rare it is; none where nothing is shared."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = {"ngram_range": (1, 2), "analyzer": "char"} if job.language == "zh" else {}
    vectors = TfidfVectorizer(**words).fit([row["context"] for row in job.rows("train")])
    may_be_none = any(not row["answers"]["text"] for row in job.rows("train"))

    def answer(row: Row) -> str:
        parts = [part for part in BORDERS[job.language].split(row["context"]) if part.strip()]
        scores = (vectors.transform(parts) @ vectors.transform([row["question"]]).T).toarray()[:, 0]
        return "" if may_be_none and not scores.max() else parts[int(scores.argmax())]

    return "clause with most overlap", [answer(row) for row in job.rows("test")]


def _most_frequent_label(job: Job) -> tuple[str, list[str]]:
    best = Counter(row["label"] for row in job.rows("train")).most_common(1)[0][0]
    return "most frequent label", [best] * len(job.rows("test"))


def _most_frequent_token(job: Job) -> tuple[str, list[str]]:
    """Of those that are asked for in the validation rows."""
    best = Counter(row["token"] for row in job.rows("validation")).most_common(1)[0][0]
    return "most frequent token", [best] * len(job.rows("test"))


BASELINES = {
    "text_classification": _classify,
    "multi_label": _tag,
    "regression": _regress,
    "token_classification": _look_up,
    "question_answering": _overlap,
    "zero_shot": _most_frequent_label,
    "fill_mask": _most_frequent_token,
}

if __name__ == "__main__":
    main()
