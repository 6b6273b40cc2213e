"""Real accuracy by what people send to /feedback: how many answers were right, for this window and since the version
went live, and whether that is worse than it was on the frozen rows.

The interval of a window is Wilson's, for that window alone. Who looks every day needs evidence that may be looked at
as often as one likes: the e-process below stays under 1 / alpha, with probability 1 - alpha, at all times together,
while the accuracy is not below the bound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from components.monitoring.request_lines import Request, hash_texts
from components.task_types import TaskType
from components.task_types.base import Numbers

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Evidence:
    """What people have said since a version went live: `right` and `wrong` answers, and the largest e-value so far."""

    right: int = 0
    wrong: int = 0
    largest: float = 0.0  # its logarithm
    until: str = ""  # time of the newest feedback that is in it

    @property
    def p_value(self) -> float:
        """Against "the accuracy is at least the bound"; holds whenever one stops looking. Source: Ville 1939."""
        return min(1.0, exp(-self.largest))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Feedback about one answer: when it came, and whether the answer was right."""

    time: str
    right: bool


def add_judgements(evidence: Evidence, judgements: Sequence[Judgement], bound: float) -> Evidence:
    """The evidence with more feedback, each piece one look.

    Args:
        bound: accuracy that the answers should have at least; above 0 and below 1.
    """
    if not judgements:
        return evidence
    came = sorted(judgements, key=lambda each: each.time)
    right = evidence.right + np.cumsum([each.right for each in came])
    wrong = evidence.wrong + np.cumsum([not each.right for each in came])
    values = log_evidence(right.astype(np.float64), wrong.astype(np.float64), bound)
    return replace(
        evidence,
        right=int(right[-1]),
        wrong=int(wrong[-1]),
        largest=max(evidence.largest, float(values.max())),
        until=came[-1].time,
    )


def log_evidence(right: Numbers, wrong: Numbers, bound: float) -> Numbers:
    """Logarithm of the e-value against "the accuracy is at least `bound`": all lower accuracies alike, by the bound's.

    Source: the method of mixtures, Robbins, Statistical methods related to the law of the iterated logarithm (1970);
    Ramdas et al., Game-theoretic statistics and safe anytime-valid inference, Statistical Science 38 (2023).
    """
    from scipy.special import betainc, betaln

    below = np.maximum(betainc(right + 1, wrong + 1, bound), np.finfo(np.float64).tiny)
    mixed = betaln(right + 1, wrong + 1) + np.log(below) - log(bound)
    result: Numbers = mixed - right * log(bound) - wrong * log(1 - bound)
    return result


def wilson(right: int, rows: int) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 %."""
    from scipy.stats import binomtest

    found = binomtest(right, rows).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def read_judgements(
    feedback: Path, requests: Sequence[Request], kind: TaskType, salt: bytes, *, version: int, since: str
) -> list[Judgement]:
    """Feedback about answers of a version that are in the log, the newest about each.

    A line that names its request is about that answer, another one about the newest answer to its text.

    Args:
        feedback: the file of corrections.
        requests: of the log.
        salt: key of the log's hashes.
        since: only what came after this time.
    """
    answers = _labels(requests)
    newest: dict[tuple[str, str], Judgement] = {}
    for line in _lines(feedback):
        if line.get("version") != version or str(line.get("time", "")) <= since or "label" not in line:
            continue
        texts = [line[name] for name in kind.texts if isinstance(line.get(name), str)]
        key = str(line.get("request") or ""), hash_texts(texts, salt)
        said = answers.get(key, answers.get(("", key[1])))
        if said is not None:
            newest[key] = Judgement(str(line["time"]), " + ".join(kind.words(str(line["label"]))) == said)
    return list(newest.values())


def has_newer(feedback: Path, since: str) -> bool:
    """Whether feedback came after this time."""
    return any(str(line.get("time", "")) > since for line in _lines(feedback))


def _labels(requests: Sequence[Request]) -> dict[tuple[str, str], str]:
    """The label that each text got, by request id and hash, and by hash alone, the newest, under an empty id."""
    found: dict[tuple[str, str], str] = {}
    for request in requests:
        for row in request.rows:
            if "label" in row and "hash" in row:
                found[request.id.split()[0], row["hash"]] = found["", row["hash"]] = row["label"]
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict):
                yield content
