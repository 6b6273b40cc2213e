"""A validated data set whose texts name their vectors, so that looking for wrong labels needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.records import ValidatedDataset
from components.validation import noisy_rows


def deliver(
    patch: pytest.MonkeyPatch,
    folder: Path,
    learned: tuple[np.ndarray, Sequence[str]],
    validation: tuple[np.ndarray, Sequence[str]],
    labels: tuple[str, ...] = (),
) -> ValidatedDataset:
    """Training and validation rows, each with vectors and labels, in `folder`, which is made."""
    known = np.vstack([learned[0], validation[0]])
    patch.setattr(noisy_rows, "embed_texts", lambda _base, texts, *_: known[[int(text) for (text,) in texts]])
    folder.mkdir()
    (folder / "validation.md").write_text("report")
    count, others = len(learned[1]), len(validation[1])
    texts = [str(number) for number in range(count + others)]
    names = [f"train.csv:{number}" for number in range(count)]
    train = pd.DataFrame({"row_id": names, "text": texts[:count], "label": learned[1]})
    train.to_parquet(folder / "train.parquet")
    held_out = pd.DataFrame({"row_id": "v", "text": texts[count:], "label": validation[1]})
    held_out.to_parquet(folder / "validation.parquet")
    return ValidatedDataset(folder, "data", {"train": count, "validation": others}, labels, 0, {}, ())
