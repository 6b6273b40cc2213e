"""The one shape of every error: `{"error": {"problem": "...", "hint": "..."}}`.

Nothing that a request said is repeated, but for the names of unknown keys: no text, no path, no header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping


class Problem(Exception):
    """A request that is not answered as asked.

    Args:
        status: HTTP status.
        problem: what is wrong, in one sentence.
        hint: what the caller can do, starting with a verb.
        headers: further response headers, such as Allow or Retry-After.
    """

    def __init__(self, status: int, problem: str, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, problem, hint, headers)
        self.status = status
        self.problem = problem
        self.hint = hint
        self.headers = dict(headers or {})

    def content(self) -> dict[str, dict[str, str]]:
        """What is answered."""
        return {"error": {"problem": self.problem, "hint": self.hint}}

    def body(self) -> bytes:
        """The JSON of it."""
        return json.dumps(self.content(), ensure_ascii=False).encode()


CLOSE = {"connection": "close"}


def not_json(reason: str) -> Problem:
    return Problem(400, f"The body is not valid JSON: {reason}.", 'send UTF-8 JSON such as {"text": "..."}.')


def two_lengths() -> Problem:
    return Problem(400, "The request declares a length and is chunked.", "send one or the other.", CLOSE)


def no_key() -> Problem:
    problem, hint = "This endpoint wants an API key.", "send 'Authorization: Bearer KEY'; its operator gives keys out."
    return Problem(401, problem, hint, {"www-authenticate": "Bearer"})


def wrong_key() -> Problem:
    hint = "ask the operator for another."
    headers = {"www-authenticate": 'Bearer error="invalid_token"'}
    return Problem(401, "The API key is not known, or holds no longer.", hint, headers)


def no_such_page() -> Problem:
    return Problem(404, "There is no such page.", "see /openapi.json for those that there are.")


def wrong_method(allowed: str) -> Problem:
    return Problem(405, "This page does not take that method.", f"use {allowed}.", {"allow": allowed})


def body_too_slow(seconds: float) -> Problem:
    return Problem(408, f"The body did not arrive within {seconds:g} seconds.", "send it again, faster.", CLOSE)


def body_too_large(limit: int) -> Problem:
    hint = "send fewer or shorter texts in one request."
    return Problem(413, f"The body is larger than {limit} bytes.", hint, CLOSE)


def wrong_media_type() -> Problem:
    return Problem(415, "The body is not declared as plain JSON.", "send 'Content-Type: application/json', unpacked.")


def wrong_values(sentences: list[str]) -> Problem:
    return Problem(422, "; ".join(sentences) + ".", "correct that; /openapi.json describes the request.")


def too_costly(cost: int, limit: int) -> Problem:
    problem = f"The model would have to read about {cost:,} characters for this request; the limit is {limit:,}."
    return Problem(422, problem, "send fewer or shorter texts, or fewer labels, in one request.")


def not_learnable(remedy: str) -> Problem:
    return Problem(422, "The true answer does not fit the text.", remedy)


def no_corrections() -> Problem:
    return Problem(501, "This endpoint takes no corrections.", "send them to whoever trains the model.")


def not_kept() -> Problem:
    hint = "send it again later; the operator finds the reason in the log."
    return Problem(503, "The correction could not be stored.", hint, {"retry-after": "60"})


def not_explainable() -> Problem:
    problem = "An answer of this kind of model cannot be divided among words."
    return Problem(501, problem, "ask a model that gives labels or a number.")


def no_such_label() -> Problem:
    return Problem(422, "The model gave no score to the label that shall be explained.", "name one of 'top'.")


def too_many(work: str) -> Problem:
    return Problem(429, f"Enough {work} are at work already.", "send it again after 1 s.", {"retry-after": "1"})


def changed_version() -> Problem:
    problem = "Another version of the model went live meanwhile."
    return Problem(503, problem, "send it again.", {"retry-after": "1"})


def wrong_lines() -> Problem:
    return Problem(
        415, "The body is not declared as JSON lines.", "send 'Content-Type: application/x-ndjson', unpacked."
    )


def line_too_long(limit: int) -> Problem:
    return Problem(413, f"The line is longer than {limit} bytes.", "shorten its text.")


def not_one_row() -> Problem:
    return Problem(422, "A line of a batch holds one row.", "write each row on a line of its own.")


def too_busy(seconds: float) -> Problem:
    """More waits than can be answered in time; `seconds` from now it may be otherwise."""
    wait = str(max(1, round(seconds)))
    hint = f"send it again after {wait} s."
    return Problem(429, "More texts are waiting than can be answered in time.", hint, {"retry-after": wait})


def not_in_time(seconds: float) -> Problem:
    problem = f"The answer was not ready within {seconds:g} seconds."
    return Problem(503, problem, "send fewer texts, or send it again later.", {"retry-after": "1"})


def no_room() -> Problem:
    problem = "Too many large requests are arriving at once."
    return Problem(503, problem, "send it again after 1 s.", {"retry-after": "1", **CLOSE})


def not_spooled() -> Problem:
    problem = "The disk of the endpoint does not take the body."
    return Problem(503, problem, "send less at once, or send it again later.", {"retry-after": "60", **CLOSE})


def not_ready() -> Problem:
    return Problem(503, "The model is not loaded.", "ask again in a few seconds.", {"retry-after": "1"})


def own_fault() -> Problem:
    return Problem(500, "Something went wrong here; the log of the endpoint says what.", "report it with the time.")
