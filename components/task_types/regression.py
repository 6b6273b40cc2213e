"""One number for each text, or for each pair of texts: a rating, a similarity, a price.

The network learns standardised numbers, whatever their unit: training finds their mean and spread in the training rows.
Then the line from its output to the original units, `slope` and `offset` in the manifest, is fitted anew by least
squares on the validation rows: what a temperature is to a classifier. Of a text in several windows the mean decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.config import Training
from components.sequences.pooling import PooledSettings, settle_pooling
from components.task_types.base import (
    Answer,
    Column,
    Fault,
    Numbers,
    Outputs,
    Row,
    Spec,
    Statistic,
    TaskType,
    Windows,
)
from components.task_types.looks import LABEL_NAMES, PAIR, TEXT, Sought

if TYPE_CHECKING:
    import torch

NOT_A_NUMBER, OUT_OF_RANGE = "not_a_number", "out_of_range"
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
LARGEST = 1e30  # the square of a larger one, or itself, is infinite in float32
FEWEST_ROWS = 10  # of validation that a line is fitted to
IDENTITY = {"slope": 1.0, "offset": 0.0}
MOST_PAIRS = 1000  # rows that are drawn in a picture, evenly spread over all
DIGITS = 8  # of an answer: float32 holds no more


class Range(PooledSettings):
    """The settings of regression."""

    low: float | None = Field(
        None, allow_inf_nan=False, description="Lowest number that may occur; rows below it are set aside."
    )
    high: float | None = Field(
        None, allow_inf_nan=False, description="Highest number that may occur; answers are kept within the two."
    )

    @model_validator(mode="after")
    def _goes_up(self) -> Range:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be less than high")
        return self


NAMES = (*LABEL_NAMES, "value", "score", "similarity", "relatedness", "rating", "得分", "相似度")


class Regression(TaskType):
    """A linear layer with one output on the pooled tokens, mean square error."""

    name = "regression"
    purpose = "Gives each text, or each pair of texts, a number in the unit of the training data."
    limits = "It does not say how sure it is, and it gives texts of any other kind a number as well."
    hub_task = "text-classification"
    forms = ((Column("text"), Column("text_pair", optional=True), Column("value", "word")),)
    sought = ((Sought("value", NAMES, "number"), TEXT, PAIR),)
    texts = ("text", "text_pair")
    rewrites = True
    faults: ClassVar[Mapping[str, str]] = {
        NOT_A_NUMBER: "write a number with a decimal point, such as 3.5, or leave the row out.",
        OUT_OF_RANGE: "correct the number, or widen task.low and task.high.",
    }
    has_labels = False
    settings = Range
    windows_share_target = True
    targets_type = "float32"
    metric_names = ("pearson", "spearman")

    def read(self, values: Mapping[str, str | None], settings: Mapping[str, Any]) -> Mapping[str, str] | Fault:
        number = _number(values["value"])
        if isinstance(number, str):
            return Fault(NOT_A_NUMBER, number)
        if fault := _outside(number, settings):
            return fault
        texts = {role: text for role in self.texts if (text := values.get(role)) is not None}
        return {**texts, "label": repr(number)}

    def settle(self, settings: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
        return settle_pooling(settings, base)

    def build_network(self, base: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import build_sequence_network

        network = build_sequence_network(base, ["value"], "regression", spec.settings.get("pooling", "cls"))
        network.config.target_line = self._line(spec)  # in what units `loss` compares; saved with checkpoints
        return network

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.sequences.sequence_network import load_sequence_network

        return load_sequence_network(folder)

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.sequences.text_windows import window_texts

        return window_texts(tokenizer, rows, spec)

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        """In the original units."""
        return [[float(rows[row]["label"])] for row in windows.rows]

    def start(self, targets: NDArray[Any], spec: Spec) -> dict[str, Any]:
        """The line from standardised numbers to the original units."""
        numbers = targets.astype(np.float64)
        return {"slope": float(numbers.std()) or 1.0, "offset": float(numbers.mean())}

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        from torch.nn.functional import mse_loss

        slope, offset = network.config.target_line
        return mse_loss(outputs.float()[:, 0], (targets - offset) / slope)

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """Standardised numbers (rows,)."""
        from components.sequences.text_windows import mean_of_windows

        return mean_of_windows(windows, outputs, len(rows))[:, 0]

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        """The line with the least square error; that of the training where the outputs say too little, or nothing."""
        found, truth = np.asarray(outputs, np.float64), _numbers([row["label"] for row in rows])
        slope, offset = self._line(spec)
        around = found - found.mean()
        if len(rows) >= FEWEST_ROWS and (fitted := float(around @ truth)) > 0:
            slope = fitted / float(around @ around)
            offset = float(truth.mean() - slope * found.mean())
        return {"slope": slope, "offset": offset}

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        slope, offset = self._line(spec)
        low, high = (spec.settings.get(name) for name in ("low", "high"))
        numbers = np.asarray(outputs, np.float64) * slope + offset
        if low is not None or high is not None:
            numbers = np.clip(numbers, low, high)
        return [{"value": float(f"{number:.{DIGITS}g}")} for number in numbers.tolist()]

    def said(self, answer: Answer) -> str:
        return repr(answer["value"])

    def explained(self, answer: Answer) -> Mapping[str, float]:
        return {"value": float(answer["value"])}

    def confidence(self, answer: Answer) -> float:
        """Zero: a network with one output does not say how sure it is."""
        return 0.0

    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        """1 / (1 + absolute error): 1 where the number is exact."""
        quality: Numbers = 1 / (1 + np.abs(_numbers(truths) - _numbers(said)))
        return quality

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        from components.sequences.regression_metrics import regression_metrics

        return regression_metrics(_numbers(truths), np.array([answer["value"] for answer in answers]))

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        from components.sequences.regression_metrics import CORRELATIONS

        return CORRELATIONS[metric](_numbers(truths), _numbers(said))

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        from components.sequences.regression_metrics import error_quantiles

        truth, said = _numbers(truths), np.array([answer["value"] for answer in answers])
        shown = np.unique(np.linspace(0, max(len(truth) - 1, 0), min(len(truth), MOST_PAIRS)).astype(np.int64))
        pairs = [{"truth": float(truth[row]), "said": float(said[row])} for row in shown.tolist()]
        return {"errors": error_quantiles(truth, said), "pairs": pairs}

    @staticmethod
    def _line(spec: Spec) -> tuple[float, float]:
        line = {**IDENTITY, **spec.fitted}
        return line["slope"], line["offset"]


def _numbers(words: Sequence[str]) -> Numbers:
    return np.array([float(word) for word in words], np.float64)


def _number(cell: str | None) -> float | str:
    """The number in a cell, or what is wrong with it."""
    text = (cell or "").strip()
    if not text:
        return "there is no number"
    if not NUMBER.fullmatch(text):
        return f"'{text}' is no number"
    return float(text) if abs(float(text)) <= LARGEST else f"'{text}' is beyond {LARGEST:g}"


def _outside(number: float, settings: Mapping[str, Any]) -> Fault | None:
    low, high = settings.get("low"), settings.get("high")
    if low is not None and number < low:
        return Fault(OUT_OF_RANGE, f"{number:g} is less than {low:g}")
    if high is not None and number > high:
        return Fault(OUT_OF_RANGE, f"{number:g} is more than {high:g}")
    return None


TASK_TYPE: TaskType = Regression()
