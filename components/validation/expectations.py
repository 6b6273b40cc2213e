"""Great Expectations, and nothing else of ours knows it: checks and a frame in, one finding a check out.

Fails closed where the library does not: no expectation evaluated, no rows, an expectation that raised and a name that
it does not know are all failures here.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.records import Severity

Integers = NDArray[np.int64]
ROW = "_row"  # our own unique column: the library cannot tell rows with equal or missing ids apart

# Messages of the library that speak of the run file alone; others may repeat values, which are people's data.
TELLABLE = re.compile(
    r"The column \"[^\"]*\" in BatchData does not exist|Invalid regular expression: .*"
    r"|Column values, min_value, and max_value must either be None or of the same type"
    r"|Cannot perform reduction '\w+' with \w+ dtype"
)
PLURALS, SINGULARS = ("have", "hold", "do"), ("has", "holds", "does")


@dataclass(frozen=True, slots=True)
class Check:
    """A check that Great Expectations evaluates.

    `expectation` is its name there, such as expect_column_values_to_not_be_null, with its `arguments`. `sentence` may
    use {rows}, {total}, {values} (first unexpected values), {observed} (a number, with its own words),
    and {have}, {hold}, {do} as the rows go.
    """

    name: str
    expectation: str
    arguments: Mapping[str, Any]
    severity: Severity
    sentence: str
    hint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check: `rows` are positions in the frame, empty for checks of the whole table."""

    check: Check
    passed: bool
    errored: bool
    sentence: str
    rows: Integers = field(default_factory=lambda: np.empty(0, np.int64))


NO_CHECK = Check(
    "expectations", "", {}, "stop", "Not a single expectation was evaluated.", "add at least one expectation."
)


def evaluate(checks: Sequence[Check], frame: Any) -> list[Finding]:
    """One finding for each check, in order.

    Args:
        checks: what is expected of the frame.
        frame: a pandas frame; its index does not matter.
    """
    if not checks:
        return [Finding(NO_CHECK, False, True, NO_CHECK.sentence)]
    if len(frame) == 0:
        return [Finding(check, False, True, "There are no rows to evaluate.") for check in checks]
    with _quiet():
        batch = _batch(frame)
        built = [_build(check) for check in checks]
        results = iter(_validate(batch, [item for item in built if not isinstance(item, str)]))
        return [
            Finding(check, False, True, item) if isinstance(item, str) else _finding(check, item, next(results), batch)
            for check, item in zip(checks, built, strict=True)
        ]


def explain_name(expectation: str) -> str | None:
    """Why there is no such expectation, with the nearest name; None where there is one. Does not import the library."""
    known = _names()
    if expectation in known:
        return None
    close = get_close_matches(expectation, known, n=1, cutoff=0.5)
    return f"Great Expectations knows no '{expectation}'" + (f"; did you mean '{close[0]}'?" if close else "")


@cache
def _names() -> Sequence[str]:
    """The library's expectations as its own list of exports has them: importing it takes seconds."""
    package = find_spec("great_expectations")
    place = Path(package.origin or "").parent if package else Path()
    exports = (place / "expectations" / "core" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r"^from \.(expect_\w+) import", exports, re.MULTILINE)


def _classes() -> dict[str, Any]:
    """The library's expectations by their names in lower case: ExpectColumnKL... is expect_column_kl_..."""
    import great_expectations.expectations as library

    word = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
    return {word.sub("_", name).lower(): getattr(library, name) for name in dir(library) if name.startswith("Expect")}


def _build(check: Check) -> Any:
    """The library's expectation, or a sentence that says why there is none."""
    unknown = explain_name(check.expectation)
    if unknown:
        return unknown
    try:
        return _classes()[check.expectation](**check.arguments)
    except Exception as error:  # the pydantic v1 inside the library raises many kinds
        return f"{check.expectation} does not take these arguments: {_one_line(error)}"


def _batch(frame: Any) -> Any:
    import great_expectations

    # Imported from its module: the name at the top of the package exists only after a first import of this one.
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    numbered = frame.reset_index(drop=True).assign(**{ROW: np.arange(len(frame))})
    return asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": numbered})


def _validate(batch: Any, expectations: Sequence[Any], result_format: Any = "BOOLEAN_ONLY") -> list[Any]:
    """One result for each expectation, None where the library gave none."""
    import great_expectations

    # The library groups its results by column and refuses equal expectations: a number tells them apart.
    numbered = [item.copy(update={"meta": {ROW: number}}) for number, item in enumerate(expectations)]
    suite = great_expectations.ExpectationSuite("rows", expectations=numbered)
    results = batch.validate(suite, result_format=result_format).results if numbered else []
    by_number = {result.expectation_config.meta[ROW]: result for result in results}
    return [by_number.get(number) for number in range(len(numbered))]


def _finding(check: Check, expectation: Any, first: Any, batch: Any) -> Finding:
    if first is None:
        return Finding(check, False, True, f"{check.expectation} was not evaluated.")
    raised = _raised(first)
    if raised:
        return Finding(check, False, True, f"{check.expectation} could not be evaluated: {raised}")
    if first.success:
        return Finding(check, True, False, "")
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": [ROW], "include_unexpected_rows": False}
    # The rows of a failure cost memory, so that they are asked for only now.
    (second,) = _validate(batch, [expectation], complete)
    result = dict(second.result or {}) if second else {}
    rows = _positions(result)
    return Finding(check, False, False, _sentence(check, result, len(rows)), rows)


def _raised(result: Any) -> str:
    """What was raised, as far as it can be told; the library nests it once or twice, by kind of expectation."""
    info = result.exception_info or {}
    for each in [info, *(value for value in info.values() if isinstance(value, Mapping))]:
        if each.get("raised_exception"):
            told = TELLABLE.search(_one_line(each.get("exception_message") or ""))
            return f"{told[0].rstrip('.')}." if told else "the values are not of the kind that it looks at."
    return ""


def _positions(result: Mapping[str, Any]) -> Integers:
    listed = result.get("unexpected_index_list") or []
    return np.unique(np.fromiter((item[ROW] for item in listed), np.int64, len(listed)))


def _sentence(check: Check, result: Mapping[str, Any], rows: int) -> str:
    values = list(dict.fromkeys(_short(value) for value in result.get("partial_unexpected_list") or []))
    verbs = PLURALS if rows != 1 else SINGULARS
    return check.sentence.format(
        **dict(zip(PLURALS, verbs, strict=True)),
        rows=f"{rows:,}",
        total=f"{result.get('element_count', 0):,}",
        values=", ".join(values[:5]) + (" …" if len(values) > 5 else ""),
        observed=_number_seen(result.get("observed_value")),
    )


def _number_seen(value: Any) -> str:
    """What an expectation of a whole column measured; a text or a list may be people's data and is not told."""
    measured = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return f"; observed: {value:g}" if measured else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's log lines and its use of deprecated names, neither of which is the user's affair."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
