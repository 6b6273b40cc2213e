"""The reference that scores all systems alike: scikit-learn, SciPy, and the rules of the official scripts.

Nothing here is the project's own code. Each function gets the test rows and a system's answers, in their order.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quality_job import Row, spans_of_bio

Scores = dict[str, float]
MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # that CMRC's script leaves out

# Names of this reference to those of the project's own evaluation.
OWN_NAMES = {
    **{"accuracy": "accuracy", "micro F1": "micro_f1", "subset accuracy": "subset_accuracy", "Pearson": "pearson"},
    **{"Spearman": "spearman", "entity F1": "f1", "F1": "f1", "exact": "exact_match"},
}
SAME = 1e-6


def differing(scores: Scores, own: Mapping[str, float]) -> list[str]:
    """A sentence for each score that the project's own evaluation of the same answers has another value for."""
    pairs = [(name, value, own[OWN_NAMES[name]]) for name, value in scores.items() if OWN_NAMES.get(name) in own]
    return [
        f"the reference has {name} {value:.6f}, the project's own evaluation {said:.6f}"
        for name, value, said in pairs
        if abs(value - said) > SAME
    ]


def score(task_type: str, language: str, rows: Sequence[Row], answers: Sequence[Any]) -> Scores:
    """All metrics of a task type, the one of the table first; 1.0 is best.

    Raises:
        ValueError: there is not one answer for each row.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(answers)} answers for {len(rows)} rows")
    if task_type == "question_answering":
        return _question_answering(rows, answers, _cmrc_f1 if language == "zh" else _squad_f1)
    return SCORERS[task_type](rows, answers)


def _classification(rows: Sequence[Row], answers: Sequence[str]) -> Scores:
    from sklearn.metrics import accuracy_score, f1_score

    truths = [row["label"] for row in rows]
    macro = f1_score(truths, answers, labels=sorted(set(truths)), average="macro", zero_division=0)
    return {"accuracy": float(accuracy_score(truths, answers)), "macro F1": float(macro)}


def _multi_label(rows: Sequence[Row], answers: Sequence[Sequence[str]]) -> Scores:
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    table = MultiLabelBinarizer().fit([*(row["labels"] for row in rows), *answers])
    truths, said = table.transform([row["labels"] for row in rows]), table.transform(answers)
    averages = {
        f"{name} F1": float(f1_score(truths, said, average=name, zero_division=0)) for name in ("micro", "macro")
    }
    return {**averages, "subset accuracy": float(accuracy_score(truths, said))}


def _regression(rows: Sequence[Row], answers: Sequence[float]) -> Scores:
    from scipy.stats import pearsonr, spearmanr

    truths = [float(row["value"]) for row in rows]
    if len(set(answers)) == 1:
        return {"Pearson": 0.0, "Spearman": 0.0}  # whoever always says the same says nothing
    return {"Pearson": float(pearsonr(truths, answers)[0]), "Spearman": float(spearmanr(truths, answers)[0])}


def _entities(rows: Sequence[Row], answers: Sequence[Sequence[Any]]) -> Scores:
    """Strict: first token, last token and label must be right."""
    hits = said = actual = 0
    for row, spans in zip(rows, answers, strict=True):
        truth, found = set(spans_of_bio(row["tags"])), {tuple(span) for span in spans}
        hits, said, actual = hits + len(truth & found), said + len(found), actual + len(truth)
    return {
        "entity F1": 2 * hits / max(1, said + actual),
        "precision": hits / max(1, said),
        "recall": hits / max(1, actual),
    }


def _masks(rows: Sequence[Row], answers: Sequence[str]) -> Scores:
    right = sum(row["token"] == answer for row, answer in zip(rows, answers, strict=True))
    return {"top-1 accuracy": right / len(rows)}


def _question_answering(rows: Sequence[Row], answers: Sequence[str], f1: Callable[[str, str], float]) -> Scores:
    truths = [row["answers"]["text"] or [""] for row in rows]
    pairs = list(zip(truths, answers, strict=True))
    simple = _without_marks if f1 is _cmrc_f1 else _normalised
    exact = sum(any(simple(truth) == simple(said) for truth in own) for own, said in pairs)
    return {
        "F1": sum(max(f1(truth, said) for truth in own) for own, said in pairs) / len(rows),
        "exact": exact / len(rows),
    }


def _normalised(text: str) -> str:
    """As in evaluate-v2.0.py of SQuAD."""
    plain = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def _squad_f1(truth: str, said: str) -> float:
    wanted, given = _normalised(truth).split(), _normalised(said).split()
    if not wanted or not given:
        return float(wanted == given)
    return _f1(sum((Counter(wanted) & Counter(given)).values()), wanted, given)


def _without_marks(text: str) -> str:
    return "".join(sign for sign in text.lower().strip() if sign not in MARKS)


def _cmrc_f1(truth: str, said: str) -> float:
    """The longest common run of characters, and of words between them, as in cmrc2018_evaluate.py."""
    wanted, given = (
        re.findall("[\u4e00-\u9fa5]|[^\\W\u4e00-\u9fa5]+(?:[.,][^\\W\u4e00-\u9fa5]+)*|[^\\w\\s]", _without_marks(x))
        for x in (truth, said)
    )
    if not wanted or not given:
        return float(wanted == given)
    lengths, best = [0] * (len(given) + 1), 0
    for left in wanted:
        lengths = [0, *(lengths[k] + 1 if left == right else 0 for k, right in enumerate(given))]
        best = max(best, *lengths)
    return _f1(best, wanted, given)


def _f1(common: int, wanted: Sequence[str], given: Sequence[str]) -> float:
    return 2 * common / (len(wanted) + len(given))


SCORERS: dict[str, Callable[[Sequence[Row], Sequence[Any]], Scores]] = {
    "text_classification": _classification,
    "multi_label": _multi_label,
    "regression": _regression,
    "token_classification": _entities,
    "zero_shot": _classification,
    "fill_mask": _masks,
}
