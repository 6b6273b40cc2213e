"""What a task type is: the one place where a kind of model differs from the others.

Each type is one file in this folder with a subclass of `TaskType` and one instance named `TASK_TYPE`. Everything else
(validation, tokenization, training, evaluation, the gate, the endpoint) asks these methods and never the type's name.

A row goes this way: the columns of a file → `read` → texts and one `label`, the true answer as a string → `encode`, the
windows that the network reads → `forward`, raw outputs of each window → `combine`, one output a row → `answers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from components.config import Section, Training
from components.task_types.looks import Sought
from components.task_types.shapes import (
    READING,
    Answer,
    Arrays,
    Column,
    Fault,
    Features,
    Numbers,
    Outputs,
    Row,
    Run,
    Spec,
    Statistic,
    Windows,
    json_text,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "READING",
    "Answer",
    "Arrays",
    "Column",
    "Fault",
    "Features",
    "NoSettings",
    "Numbers",
    "Outputs",
    "Row",
    "Run",
    "Spec",
    "Statistic",
    "TaskType",
    "Windows",
    "json_text",
]


class NoSettings(Section):
    """The settings of a type that has none."""


class TaskType(ABC):
    """The parts that differ by task type; what most types share is here."""

    name: ClassVar[str]
    purpose: ClassVar[str]  # one sentence for the model card: what it gives
    limits: ClassVar[str]  # and what must not be expected of it
    hub_task: ClassVar[str]  # what the Hugging Face hub calls its task
    # --- data -------------------------------------------------------------------------------------------------------
    # Sets of columns that a file may have; the first whose columns are all there is read.
    forms: ClassVar[tuple[tuple[Column, ...], ...]]
    # How each form is recognised in somebody's file, the true answer first, so that it is taken for no text.
    sought: ClassVar[tuple[tuple[Sought, ...], ...]] = ()
    texts: ClassVar[tuple[str, ...]] = ("text",)  # what the model reads, in the order of its segments
    # Of several texts, those that decide the split of a row: rows that share them stay together. Empty: all of them.
    grouped_by: ClassVar[tuple[str, ...]] = ()
    rewrites: ClassVar[bool] = False  # whether `read` must be called: columns of a file are not texts and label as such
    faults: ClassVar[Mapping[str, str]] = {}  # names of the checks that `read` makes, with what to do then
    mended: ClassVar[Mapping[str, str]] = {}  # the same of those whose rows `read` mends
    # What `out_of_reach` finds in a row, after "has" or "have", and what to do about it; empty: every row is in reach.
    unreachable: ClassVar[tuple[str, str]] = ("", "")
    has_labels: ClassVar[bool] = True  # whether answers are made of a closed set of labels
    settings: ClassVar[type[Section]] = NoSettings  # what the section `task` may hold
    many: ClassVar[str] = "texts"  # the key of a request with several rows
    # --- training ---------------------------------------------------------------------------------------------------
    trains: ClassVar[bool] = True
    untrained: ClassVar[str] = ""  # the type that is proposed where too few rows have labels to learn from
    targets_are: ClassVar[Literal["one", "vector", "tokens"]] = "one"  # numbers for each window
    # Whether all windows of a row have the row's target: an epoch then draws one window a row, or long rows count more.
    windows_share_target: ClassVar[bool] = False
    targets_type: ClassVar[Literal["int64", "float32"]] = "int64"
    balances: ClassVar[bool] = False  # whether training.class_weights may be balanced
    # --- scores -----------------------------------------------------------------------------------------------------
    metric_names: ClassVar[tuple[str, ...]]  # which evaluation.metric may name; the first is the default
    shares: ClassVar[tuple[str, ...]] = ()  # those of them that are the share of rows answered rightly

    def columns(self, named: Mapping[str, str], present: Sequence[str]) -> dict[str, str]:
        """The project's name to the file's for each column to read.

        Args:
            named: `data.columns`; a role that is not named has the project's name in the file.
            present: columns of the file. Where none of the forms is there, the first is wanted.
        """
        wanted = [
            {column.role: named.get(column.role, column.role) for column in form if self._is_read(column, named)}
            for form in self.forms
        ]
        return next((form for form in wanted if set(form.values()) <= set(present)), wanted[0])

    @staticmethod
    def _is_read(column: Column, named: Mapping[str, str]) -> bool:
        return not column.optional or column.role in named

    def roles(self) -> dict[str, Column]:
        """Every column of every form by its role."""
        return {column.role: column for form in self.forms for column in form}

    def read(self, values: Mapping[str, str | None], settings: Mapping[str, Any]) -> Mapping[str, str] | Fault:
        """Texts and label of a row from the columns of its file, or why it has none. Called if `rewrites`."""
        return {role: value for role, value in values.items() if value is not None}

    def settings_of_file(
        self, rows: Iterable[Mapping[str, str | None]], settings: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The settings that `read` gets for the rows of a file: with what only all of them together tell."""
        return settings

    def suggest(self, labels: Sequence[str]) -> Mapping[str, Any]:
        """Settings for the section `task` that true answers ask for, where the defaults do not suit them."""
        return {}

    def words(self, label: str) -> Sequence[str]:
        """The labels that a true answer is made of."""
        return (label,)

    # --- network ----------------------------------------------------------------------------------------------------
    def settle(self, settings: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
        """The section `task` as the manifest keeps it: with what the base model decides where the run file does not."""
        return settings

    def learn(self, settings: Mapping[str, Any], rows: Iterable[Row]) -> Mapping[str, Any]:
        """The settled section `task` with what the training rows decide where the run file does not."""
        return settings

    @abstractmethod
    def build_network(self, base: Path, spec: Spec) -> Any:
        """A float32 network with the weights of `base` and a new head."""

    @abstractmethod
    def load_network(self, folder: Path, spec: Spec) -> Any:
        """The float32 network of a model directory."""

    @abstractmethod
    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        """What the network reads of each row, not padded; the same in training and serving."""

    @abstractmethod
    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        """What the network should answer for each window, in the form of `targets_are`; -100 in tokens is ignored."""

    def out_of_reach(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> list[int]:
        """Positions of rows whose true answer this model cannot give, however well it learns."""
        return []

    def start(self, targets: NDArray[Any], spec: Spec) -> dict[str, Any]:
        """The first `Spec.fitted`: what training must know of its targets, such as their scale.

        Args:
            targets: of what an epoch draws: of each row one, where its windows share it.
        """
        return {}

    def weights(self, targets: NDArray[Any], spec: Spec) -> NDArray[np.float32] | None:
        """What `loss` gets as weights where training.class_weights is balanced; `targets` as `start` gets them."""
        return None

    def prepare(
        self, inputs: dict[str, torch.Tensor], tokenizer: Any, spec: Spec, seed: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """A batch just before the network gets it, in training and in its evaluations: for what is drawn anew."""
        return inputs

    def forward(self, network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Raw outputs of a padded batch of windows, as one tensor; engines other than torch trace it."""
        outputs: torch.Tensor = network(**inputs).logits
        return outputs

    def without_padding(self, outputs: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """A batch's outputs as `loss` gets them, where its tokens compete and those of the padding must not."""
        return outputs

    @abstractmethod
    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        """Mean loss of a batch of windows."""

    def condense(self, outputs: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What of a batch's outputs the evaluations in training need: little enough to leave the device."""
        return outputs

    def split(self, outputs: NDArray[np.float32], inputs: Arrays) -> list[NDArray[np.float32]]:
        """The raw outputs of each window of a batch, without those of the padding."""
        return list(outputs)

    def ask(self, run: Run, inputs: Arrays, tokenizer: Any) -> list[NDArray[np.float32]]:
        """The raw outputs of each window of a padded batch, by any engine."""
        return self.split(run(inputs), inputs)

    def again(self, window: Features, spec: Spec) -> Hashable | None:
        """What names a window that many requests have alike, such as a label's prompt; None for all others."""
        return None

    def cost(self, rows: Sequence[Row], spec: Spec) -> int:
        """What a request's rows cost the network together, about, in characters that it reads."""
        return sum(READING + sum(len(row[name]) for name in self.texts if name in row) for row in rows)

    # --- answers ----------------------------------------------------------------------------------------------------
    @abstractmethod
    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """One output a row from the raw outputs of its windows."""

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        """What the validation rows say about calibration and thresholds: the new `Spec.fitted`."""
        return {}

    @abstractmethod
    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        """What is said about each row, complete; `present` picks what is shown."""

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        """An answer as the endpoint, the files of `rebert predict` and MLflow give it: scores to six decimals."""
        return dict(answer)

    @property
    def explains(self) -> bool:
        """Whether its answers have numbers that can be divided among the words of the text."""
        return type(self).explained is not TaskType.explained

    def explained(self, answer: Answer) -> Mapping[str, float]:
        """The numbers of an answer that can be divided among the words of the text, by label; none where none can."""
        return {}

    def margin(self, answer: Answer) -> float:
        """By how much a score would have to change for another decision: golden rows are chosen among clear ones."""
        return 1.0

    def said(self, answer: Answer) -> str:
        """The decision as a string, comparable with a row's label."""
        return str(answer["label"])

    def confidence(self, answer: Answer) -> float:
        """How sure the model is of its answer."""
        return float(answer["score"])

    # --- scores -----------------------------------------------------------------------------------------------------
    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        """How right each answer is: 1.0 is right, less is worse."""
        return np.array([truth == answer for truth, answer in zip(truths, said, strict=True)], np.float64)

    @abstractmethod
    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        """Single numbers over all rows; those of `metric_names` are among them."""

    @abstractmethod
    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        """The metric as a function of how often each row is drawn."""

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        """What report.json holds beside: `per_class`, `confusion` with `labels`, `reliability`, `pairs` of numbers."""
        return {}
