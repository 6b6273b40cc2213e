"""Checks with the base model's tokenizer: what it reads in several windows, and what it has no token for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.config import RunConfig
from components.records import BaseModel
from components.task_types import find_task_type
from components.training.tokenization import load_tokenizer, spec_of
from components.validation.checks import REACH, Integers, Outcome, checks_of, either

SAMPLE_ROWS = 20_000  # evenly spread; a share is then known to within half a percentage point
BATCH_ROWS = 1000
WORST_ROWS = 100  # of the sample that are named where a share is too large


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What the tokenizer makes of a sample of rows.

    `longest_rows` are the longest of those in several windows, each with its tokens, `strangest_rows` those with the
    largest shares of unknown tokens, each with that share; the worst first, counted from the first row.
    """

    rows: int
    sampled: int
    windowed: int
    tokens: int
    unknown: int
    longest: int
    longest_rows: tuple[tuple[int, int], ...] = ()
    strangest_rows: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenFindings:
    """`unreachable` are the rows, counted from the first usable one, whose true answer the model could not give."""

    counts: TokenCounts
    unreachable: tuple[int, ...] = ()


LookAtTokens = Callable[[Mapping[str, Any], Sequence[str], BaseModel, RunConfig], TokenFindings]


def look_at_tokens(
    columns: Mapping[str, Any], texts: Sequence[str], base: BaseModel, config: RunConfig
) -> TokenFindings:
    """What the tokenizer makes of the usable rows: of a sample, and of all where answers may be out of reach.

    Args:
        columns: texts and `label`, Arrow arrays.
        texts: the names of the texts, in the order in which the model reads them.
        base: its folder holds the tokenizer.
        config: `model.max_length`, and how the task type reads.

    Raises:
        BaseModelError: the tokenizer cannot be loaded.
    """
    tokenizer, task_type = load_tokenizer(base), find_task_type(config.task_type)
    counts = count_tokens([columns[name] for name in texts], tokenizer, config.model.max_length)
    if REACH not in checks_of(task_type):
        return TokenFindings(counts)
    spec = spec_of(config, base)
    found: list[int] = []
    for start in range(0, counts.rows, BATCH_ROWS):
        part = {role: column.slice(start, BATCH_ROWS).to_pylist() for role, column in columns.items()}
        rows = [dict(zip(part, values, strict=True)) for values in zip(*part.values(), strict=True)]
        found += [start + row for row in task_type.out_of_reach(rows, task_type.encode(tokenizer, rows, spec), spec)]
    return TokenFindings(counts, tuple(found))


def check_tokens(found: TokenFindings, rows: Integers, base: BaseModel, config: RunConfig) -> list[Outcome]:
    """The shares of rows in several windows and of unknown tokens, and the rows that are out of reach.

    Args:
        found: of the usable rows.
        rows: their positions in the delivery.
        base: named in what is said.
        config: the limits.
    """
    task_type = find_task_type(config.task_type)
    outcomes = [_windowed(found.counts, rows, config), _unknown(found.counts, rows, base, config)]
    reached = [_reach(found.unreachable, rows, task_type.unreachable)] if REACH in checks_of(task_type) else []
    return outcomes + reached


def _reach(found: Sequence[int], rows: Integers, said: tuple[str, str]) -> Outcome:
    what, hint = said
    return Outcome(
        REACH,
        passed=not found,
        sentence=f"{len(found):,} of {len(rows):,} rows {either(len(found), 'has', 'have')} {what}: the model "
        "cannot give it."
        if found
        else "Every true answer is one that the model can give.",
        hint=hint,
        rows=rows[np.array(found, np.int64)],
    )


def count_tokens(columns: Sequence[Any], tokenizer: Any, max_length: int) -> TokenCounts:
    """Count the tokens of a sample of rows, without cutting any."""
    total = len(columns[0])
    sample: Integers = np.unique(np.linspace(0, max(total - 1, 0), min(total, SAMPLE_ROWS)).astype(np.int64))
    lengths: Integers = np.zeros(len(sample), np.int64)
    unknown: Integers = np.zeros(len(sample), np.int64)
    for start in range(0, len(sample), BATCH_ROWS):
        places = pa.array(sample[start : start + BATCH_ROWS])
        words = [column.take(places).to_pylist() for column in columns]
        # Not verbose: it would warn of texts that are longer than the model's positions, which is what we count.
        encoded = tokenizer(*words, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
        lengths[start : start + BATCH_ROWS] = [len(ids) for ids in encoded]
        unknown[start : start + BATCH_ROWS] = [ids.count(tokenizer.unk_token_id) for ids in encoded]
    shares = unknown / np.maximum(lengths, 1)
    return TokenCounts(
        rows=total,
        sampled=len(sample),
        windowed=int((lengths > max_length).sum()),
        tokens=int(lengths.sum()),
        unknown=int(unknown.sum()),
        longest=int(lengths.max(initial=0)),
        longest_rows=tuple((int(sample[row]), int(lengths[row])) for row in _worst(lengths, above=max_length)),
        strangest_rows=tuple((int(sample[row]), float(shares[row])) for row in _worst(shares, above=0)),
    )


def _worst(values: NDArray[Any], above: int) -> Integers:
    """Places of the largest values, the largest first."""
    order = np.argsort(-values, kind="stable")[:WORST_ROWS]
    return order[values[order] > above]


def _of(counts: TokenCounts) -> str:
    return f"{counts.sampled:,} rows" + (f" sampled of {counts.rows:,}" if counts.sampled < counts.rows else "")


def _named(worst: Mapping[int, str]) -> str:
    return f" Named: the {len(worst):,} worst of them." if len(worst) > 1 else ""


def _windowed(counts: TokenCounts, rows: Integers, config: RunConfig) -> Outcome:
    share = counts.windowed / max(counts.sampled, 1)
    limit = config.validation.max_windowed_share
    worst = {} if share <= limit else {int(rows[row]): f"{tokens:,} tokens" for row, tokens in counts.longest_rows}
    return Outcome(
        "windowed_rows",
        passed=share <= limit,
        sentence=f"{counts.windowed:,} of {_of(counts)} ({share:.1%}) {either(counts.windowed, 'is', 'are')} longer "
        f"than {config.model.max_length} tokens and will be read in several windows; the longest has "
        f"{counts.longest:,}; the limit is {limit:.1%} of the rows.{_named(worst)}",
        hint="raise model.max_length, so that more is read at once, or validation.max_windowed_share.",
        rows=np.array(list(worst), np.int64),
        details=worst,
    )


def _unknown(counts: TokenCounts, rows: Integers, base: BaseModel, config: RunConfig) -> Outcome:
    share = counts.unknown / max(counts.tokens, 1)
    limit = config.validation.max_unknown_token_share
    named = {} if share <= limit else dict(counts.strangest_rows)
    worst = {int(rows[row]): f"{unknown:.0%} of its tokens are unknown" for row, unknown in named.items()}
    return Outcome(
        "unknown_tokens",
        passed=share <= limit,
        sentence=f"{counts.unknown:,} of {counts.tokens:,} tokens ({share:.1%}) in {_of(counts)} "
        f"{either(counts.unknown, 'is', 'are')} unknown to the tokenizer of '{base.spec}'; the limit is {limit:.1%}."
        f"{_named(worst)}",
        hint="choose a base model of the texts' language in model.base, or raise validation.max_unknown_token_share.",
        rows=np.array(list(worst), np.int64),
        details=worst,
    )
