"""Real accuracy by what people send to /feedback: how many answers were right, for this window and since the version
went live, and whether that is, or has become, worse than it was on the frozen rows.

The interval of a window is Wilson's, for that window alone. Who looks every day needs evidence that may be looked at
as often as one likes: the e-process below stays under 1 / alpha, with probability 1 - alpha, at all times together,
while the accuracy is not below the bound. It begins anew after every `EACH` pieces of feedback beside all that went
before, so that thousands of good answers do not hide that the newest are bad.
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

EACH = 50  # pieces of feedback from one start to the next; the starts are fixed, however often somebody looks


@dataclass(frozen=True, slots=True)
class Start:
    """A moment from which evidence is counted: the time of the last feedback before it, and what had come by then."""

    since: str = ""
    right: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What people have said since a version went live: `right` and `wrong` answers, and what there were at each start.

    `mode` and `bound` are those that the feedback was gathered under; with other ones it does not count.
    """

    right: int = 0
    wrong: int = 0
    until: str = ""  # time of the newest feedback that is in it
    starts: tuple[Start, ...] = (Start(),)
    mode: str = ""
    bound: float = 0.5

    @property
    def rows(self) -> int:
        return self.right + self.wrong

    @property
    def p_value(self) -> float:
        """Against "the accuracy is at least the bound, at all times"; may be looked at always. Source: Ville 1939."""
        from scipy.special import logsumexp

        to_come = -log(len(self.starts) + 1)  # weight of the starts that are still to come, each with an e-value of 1
        return min(1.0, exp(-logsumexp([*self._weighted(), to_come])))

    @property
    def strongest(self) -> Start:
        """The start from which the evidence against the bound is largest."""
        return self.starts[int(np.argmax(self._weighted()))]

    def under(self, mode: str, bound: float) -> Evidence:
        """The same, or none where it was gathered in another mode or against another bound: both were known then."""
        if (self.mode, self.bound) == (mode, bound):
            return self
        return Evidence(until=self.until, starts=(Start(self.until),), mode=mode, bound=bound)

    def _weighted(self) -> Numbers:
        """Logarithm of each start's e-value times its weight; the weights 1/2, 1/6, 1/12, … add up to 1."""
        place = np.arange(1, len(self.starts) + 1)
        right, wrong = (np.array([getattr(each, name) for each in self.starts], float) for name in ("right", "wrong"))
        values = log_evidence(self.right - right, self.wrong - wrong, self.bound)
        weighted: Numbers = values - np.log(place * (place + 1))
        return weighted


@dataclass(frozen=True, slots=True)
class Judgement:
    """Feedback about one answer: when it came, and whether the answer was right."""

    time: str
    right: bool


def add_judgements(evidence: Evidence, judgements: Sequence[Judgement]) -> Evidence:
    """The evidence with more feedback."""
    starts, right, wrong = list(evidence.starts), evidence.right, evidence.wrong
    came = sorted(judgements, key=lambda each: each.time)
    for each in came:
        right, wrong = right + each.right, wrong + (not each.right)
        if (right + wrong) % EACH == 0:
            starts.append(Start(each.time, right, wrong))
    until = came[-1].time if came else evidence.until
    return replace(evidence, right=right, wrong=wrong, until=until, starts=tuple(starts))


def log_evidence(right: Numbers, wrong: Numbers, bound: float) -> Numbers:
    """Logarithm of the e-value against "the accuracy is at least `bound`": all lower accuracies alike, by the bound's.

    A start's e-value is 1 until there is feedback after it, so that any fixed weights make one e-process of many.

    Source: the method of mixtures, Robbins, Statistical methods related to the law of the iterated logarithm (1970);
    Ramdas et al., Game-theoretic statistics and safe anytime-valid inference, Statistical Science 38 (2023); starts
    beside each other: Shin, Ramdas and Rinaldo, E-detectors, NEJSDS 2 (2024).
    """
    from scipy.special import betainc, betaln

    below = np.maximum(betainc(right + 1, wrong + 1, bound), np.finfo(np.float64).tiny)
    mixed = betaln(right + 1, wrong + 1) + np.log(below) - log(bound)
    result: Numbers = mixed - right * log(bound) - wrong * log(1 - bound)
    return result


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
