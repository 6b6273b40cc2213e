"""A training batch in parts of similar length, whose gradients are added: little padding, and the batch as drawn.

Taking rows of similar length into one batch instead is the usual way to save padding, and costs accuracy where length
says something about the label: on 1,200 rows of SST-2, sorting within four batches lost two points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# What a pass through the network costs besides its tokens, in tokens. Measured with six layers of width 384 on two
# cores: 60 in float32, 250 in bfloat16; larger networks have less.
PASS_TOKENS = 128


def parts_of(lengths: NDArray[np.int32]) -> list[list[int]]:
    """The places of a batch's rows in parts, so that the padded tokens and the passes cost least together.

    Args:
        lengths: (rows,) in tokens.
    """
    order = np.argsort(lengths, kind="stable")
    longest = lengths[order].astype(np.int64)
    rows = len(order)
    cost = np.zeros(rows + 1, np.int64)  # of the first rows in the order
    begin = np.zeros(rows + 1, np.int64)  # of the part that ends there
    for end in range(1, rows + 1):
        tried = cost[:end] + (end - np.arange(end)) * longest[end - 1] + PASS_TOKENS
        begin[end] = int(tried.argmin())
        cost[end] = tried[begin[end]]
    found, end = [], rows
    while end:
        found.append(order[begin[end] : end].tolist())
        end = int(begin[end])
    return found[::-1]
