"""`POST /explain`: how much each word of one text added to a score, as JSON or as a page to read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from components.models.explanation import VERSIONS, Explanation, explain_scores, plan_explanation, rows_of
from components.task_types import Answer, Row
from service.answering import Answering, json_reply
from service.engine import Engine
from service.explanation_page import explanation_page
from service.guard import Receive, Reply, Scope, header
from service.problems import changed_version, no_such_label, not_explainable, not_in_time, too_many
from service.requests import all_problems

AT_ONCE = 2  # explanations at work
TOGETHER = 16  # versions of the text in one turn of the model
SECONDS = 30.0
DIGITS = 6
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be explained: the likeliest label where `label` is None."""

    row: Row
    label: str | None
    versions: int


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation of one label's score of one row, by one version."""

    engine: Engine
    row: Row
    label: str
    found: Explanation

    def content(self) -> dict[str, Any]:
        """What is answered."""
        release, found = self.engine.release, self.found
        words = [
            {
                "input": part.input,
                "start": part.start,
                "end": part.end,
                "text": self.row[part.input][part.start : part.end],
                "weight": round(weight, DIGITS),
                "error": round(error, DIGITS),
            }
            for part, weight, error in zip(found.parts, found.weights, found.errors, strict=True)
        ]
        return {
            "model": release.name,
            "version": release.version,
            "label": self.label,
            "score": round(found.score, DIGITS),
            "baseline": round(found.baseline, DIGITS),
            "words": words,
            "exact": found.exact,
            "versions": found.versions,
        }


class Explaining:
    """Asks the live model about a text with words left out, and makes an explanation of its answers."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.at_work = 0

    async def explain(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /explain`."""
        engine = self.answering.engine()
        if not engine.predictor.task_type.explains:
            raise not_explainable()
        body = await self.answering.read_json(scope, receive, engine.release.serving)
        wanted = _read(engine, body)
        scope["entry"].rows = [wanted.row]
        with self._place():
            try:
                async with asyncio.timeout(SECONDS):
                    explained = await self._explain(engine, wanted)
            except TimeoutError:
                raise not_in_time(SECONDS) from None
        scope["entry"].version = explained.engine.release.version
        if b"text/html" in header(scope, b"accept"):
            page = explanation_page(explained.content(), wanted.row, engine.requests.inputs)
            return Reply(page, "text/html; charset=utf-8", headers={"content-security-policy": POLICY})
        return json_reply(explained.content())

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self.at_work >= AT_ONCE:
            raise too_many("explanations")
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1

    async def _explain(self, engine: Engine, wanted: Wanted) -> Explained:
        plan = plan_explanation(wanted.row, engine.requests.inputs, wanted.versions)
        answers = await self._ask(engine, list(rows_of(wanted.row, plan)))
        explained = engine.predictor.task_type.explained
        whole = explained(answers[-1])
        label = wanted.label or max(whole, key=whole.__getitem__)
        if label not in whole:
            raise no_such_label()
        scores = np.array([explained(answer)[label] for answer in answers], np.float64)
        return Explained(engine, wanted.row, label, explain_scores(plan, scores))

    async def _ask(self, engine: Engine, rows: Sequence[Row]) -> list[Answer]:
        """The answers of this version, in slices: other requests get in between."""
        seconds = engine.release.serving.timeout_seconds
        answers: list[Answer] = []
        for part in self.answering.slices(rows, TOGETHER):
            answered = await self.answering.ask(rows[part], seconds)
            if answered.engine is not engine:
                raise changed_version()
            answers += answered.answers
        return answers


def _read(engine: Engine, body: bytes) -> Wanted:
    try:
        request = engine.forms.explanation.model_validate_json(body)
    except ValidationError as error:
        raise all_problems(error) from None  # the cause quotes the text
    given: dict[str, Any] = request.model_dump(exclude_unset=True)
    label, versions = given.pop("label", None), given.pop("versions", VERSIONS)
    return Wanted(given, label, versions)
