"""Checks with the base model's tokenizer: what it reads in several windows, and what it has no token for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from components.config import RunConfig
from components.records import BaseModel
from components.task_types import find_task_type
from components.training.tokenization import load_tokenizer, spec_of
from components.validation.checks import REACH, Integers, Outcome, either

SAMPLE_ROWS = 20_000  # evenly spread; a share is then known to within half a percentage point
BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What the tokenizer makes of a sample of rows."""

    rows: int
    sampled: int
    windowed: int
    tokens: int
    unknown: int
    longest: int


def check_tokens(columns: Sequence[Any], base: BaseModel, config: RunConfig) -> list[Outcome]:
    """The shares of rows in several windows and of unknown tokens.

    Args:
        columns: the text columns of the usable rows, Arrow arrays, in the order in which the model reads them.
        base: its folder holds the tokenizer.
        config: the limits.

    Raises:
        BaseModelError: the tokenizer cannot be loaded.
    """
    counts = count_tokens(columns, load_tokenizer(base), config.model.max_length)
    return [_windowed(counts, config), _unknown(counts, base, config)]


def check_reach(columns: Mapping[str, Any], rows: Integers, base: BaseModel, config: RunConfig) -> Outcome:
    """The rows whose true answer the model could not give, however well it learns; all rows are looked at.

    Args:
        columns: texts and `label` of the usable rows, Arrow arrays.
        rows: their positions in the delivery.
    """
    task_type, tokenizer, spec = find_task_type(config.task_type), load_tokenizer(base), spec_of(config, (), base)
    found: list[int] = []
    for start in range(0, len(rows), BATCH_ROWS):
        part = {role: column.slice(start, BATCH_ROWS).to_pylist() for role, column in columns.items()}
        texts = [dict(zip(part, values, strict=True)) for values in zip(*part.values(), strict=True)]
        found += [start + row for row in task_type.out_of_reach(texts, task_type.encode(tokenizer, texts, spec), spec)]
    what, hint = task_type.unreachable
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
    windowed = tokens = unknown = longest = 0
    for start in range(0, len(sample), BATCH_ROWS):
        places = pa.array(sample[start : start + BATCH_ROWS])
        words = [column.take(places).to_pylist() for column in columns]
        # Not verbose: it would warn of texts that are longer than the model's positions, which is what we count.
        encoded = tokenizer(*words, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
        for ids in encoded:
            windowed += len(ids) > max_length
            longest = max(longest, len(ids))
            tokens += len(ids)
            unknown += ids.count(tokenizer.unk_token_id)
    return TokenCounts(total, len(sample), windowed, tokens, unknown, longest)


def _of(counts: TokenCounts) -> str:
    return f"{counts.sampled:,} rows" + (f" sampled of {counts.rows:,}" if counts.sampled < counts.rows else "")


def _windowed(counts: TokenCounts, config: RunConfig) -> Outcome:
    share = counts.windowed / max(counts.sampled, 1)
    limit = config.validation.max_windowed_share
    return Outcome(
        "windowed_rows",
        passed=share <= limit,
        sentence=f"{counts.windowed:,} of {_of(counts)} ({share:.1%}) {either(counts.windowed, 'is', 'are')} longer "
        f"than {config.model.max_length} tokens and will be read in several windows; the longest has "
        f"{counts.longest:,}; the limit is {limit:.1%} of the rows.",
        hint="raise model.max_length, so that more is read at once, or validation.max_windowed_share.",
    )


def _unknown(counts: TokenCounts, base: BaseModel, config: RunConfig) -> Outcome:
    share = counts.unknown / max(counts.tokens, 1)
    limit = config.validation.max_unknown_token_share
    return Outcome(
        "unknown_tokens",
        passed=share <= limit,
        sentence=f"{counts.unknown:,} of {counts.tokens:,} tokens ({share:.1%}) in {_of(counts)} "
        f"{either(counts.unknown, 'is', 'are')} unknown to the tokenizer of '{base.spec}'; the limit is {limit:.1%}.",
        hint="choose a base model of the texts' language in model.base, or raise validation.max_unknown_token_share.",
    )
