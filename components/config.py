"""The run file's settings: one frozen tree, every key described here and nowhere else.

The descriptions are the source of the JSON Schema for editors, of the comments that `rebert init` writes and of
docs/run-file.md. Reading the YAML and naming the line of an error is `run_files.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from components.config_values import Paths as Paths
from components.config_values import Section as Section
from components.config_values import Share as Share
from components.feedback_config import Feedback as Feedback
from components.gate_config import Behaviour as Behaviour
from components.gate_config import Evaluation as Evaluation
from components.gate_config import Gate as Gate
from components.monitor_config import Monitor as Monitor
from components.records import Severity
from components.upkeep_config import Notify as Notify
from components.upkeep_config import Occasion as Occasion
from components.upkeep_config import Retention as Retention
from components.upkeep_config import Schedule as Schedule
from components.upkeep_config import Triggers as Triggers

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
ServingEngine = Literal["auto", "torch", "torch-bf16", "openvino", "openvino-bf16", "openvino-int8"]


class SplitShares(Section):
    """How rows are divided where no files are named for a split: by a hash of the text, the same in every run."""

    validation: Share = Field(0.1, description="Share of the rows that chooses the best epoch.")
    test: Share = Field(0.2, description="Share of the rows that is frozen for the decision.")


class Data(Section):
    """The data files: CSV, JSONL or Parquet, by path or glob, relative to the run file's folder."""

    train: Paths = Field(description="Training files: one path or glob, or a list of them.")
    validation: Paths | None = Field(None, description="Files that choose the best epoch; left out: a share of train.")
    test: Paths | None = Field(None, description="Frozen rows that decide; left out: a share of train.")
    columns: Mapping[str, str] = Field(
        default_factory=dict, description="Our name of a column to the files' own, where the two differ."
    )
    labels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="The labels that may occur; left out: the champion's, or for a first model those in train.",
    )
    split: SplitShares = Field(SplitShares(), description="Shares, where validation or test files are left out.")
    feedback: Feedback = False
    dated_by: str | None = Field(
        None,
        pattern=r"^(path|modified|column:.+)$",
        description="What dates the data: path (a date such as 2026-11-30 in it), modified (the file's time) or "
        "column:NAME (of each row).",
    )
    as_of: date | None = Field(
        None, description="Only data of this day or before, by dated_by; `rebert run --as-of` sets it for one run."
    )

    @field_validator("labels")
    @classmethod
    def _labels_are_words_of_their_own(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [repr(label) for label, count in Counter(labels or ()).items() if count > 1]
        blank = [repr(label) for label in labels or () if not label.strip()]
        wrong = [f"{', '.join(twice)} stands there more than once"] if twice else []
        wrong += [f"{', '.join(blank)} is blank"] if blank else []
        if wrong:
            raise ValueError("; ".join(wrong))
        return labels

    @model_validator(mode="after")
    def _a_day_has_something_to_go_by(self) -> Data:
        if self.as_of is not None and self.dated_by is None:
            raise ValueError("as_of needs dated_by, which says what dates the data: path, modified or column:NAME")
        return self

    @model_validator(mode="after")
    def _shares_leave_training_rows(self) -> Data:
        if self.split.validation + self.split.test > 0.8:
            raise ValueError("split.validation and split.test together leave less than 20 % of the rows for training")
        return self


class OwnExpectation(Section):
    """A Great Expectations expectation by its own name, with its own arguments beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(description="Name in Great Expectations, such as expect_column_values_to_not_match_regex.")
    severity: Severity = Field("stop", description="stop, quarantine or warn.")


class Validation(Section):
    """What the data must be like before anything is trained on it."""

    min_rows: int = Field(100, ge=1, description="Fewest training rows.")
    min_rows_per_label: int = Field(5, ge=1, description="Fewest training rows of each label.")
    max_characters: int = Field(20_000, ge=1, description="Longest text, in characters.")
    max_windowed_share: Share = Field(0.1, description="Largest share of rows longer than model.max_length tokens.")
    max_unknown_token_share: Share = Field(
        0.05, description="Largest share of tokens that the tokenizer does not know."
    )
    max_quarantined_share: Share = Field(0.05, description="Largest share of rows that may be set aside.")
    near_duplicate_similarity: float = Field(
        0.8, ge=0.5, le=1, description="Jaccard similarity of character n-grams from which two texts count as the same."
    )
    label_noise: Literal["off", "warn", "stop", "remove"] = Field(
        "off",
        description="Whether to look for wrong labels of texts (costs one reading of all training rows by the base "
        "model): warn names them, stop rejects more than max_label_noise, remove trains without them.",
    )
    max_label_noise: Share = Field(0.1, description="Largest estimated share of wrong training labels, with stop.")
    severity: Mapping[str, Severity] = Field(
        default_factory=dict, description="Check name to stop, quarantine or warn, where the default does not suit."
    )
    expectations: tuple[OwnExpectation, ...] = Field((), description="Great Expectations checks of your own.")

    @field_validator("label_noise", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value  # what YAML makes of off without quotes


class Model(Section):
    """What is fine-tuned."""

    base: str = Field(
        description="Base model: a hub id, a local folder, package:MODULE/FOLDER for one inside a Python package, or "
        "models:/NAME@champion (or models:/NAME/VERSION) for a registered one, such as a pretraining has made."
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Digest that the base model's model.safetensors must have."
    )
    max_length: int = Field(
        128, ge=8, le=8192, description="Longest input in tokens; a longer text is read in windows of that length."
    )
    window_overlap: int | None = Field(
        None, ge=0, description="Tokens that neighbouring windows share; left out: a quarter of max_length."
    )

    @model_validator(mode="after")
    def _windows_go_on(self) -> Model:
        if self.overlap > self.max_length // 2:
            raise ValueError("window_overlap must not be more than half of max_length")
        return self

    @property
    def overlap(self) -> int:
        """Tokens that neighbouring windows share."""
        return self.max_length // 4 if self.window_overlap is None else self.window_overlap


class Training(Section):
    """How it is fine-tuned."""

    epochs: float = Field(3, gt=0, le=1000, description="Passes over the training rows, at most.")
    batch_size: int = Field(32, ge=1, description="Rows a step and device; halve it when memory runs out.")
    accumulation_steps: int = Field(1, ge=1, description="Steps whose gradients are added before the weights move.")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak learning rate; small models take up to 3e-4.")
    head_learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate of the new head alone; left out: learning_rate. A base that was made to embed "
        "whole texts (E5, sentence-transformers) needs 3e-3 to 1e-2 where tokens are judged: entities, answers.",
    )
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, description="Decay of weights, not of biases and norms.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of a label's weight spread over the others.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced weighs each label by the inverse of its frequency."
    )
    freeze: Literal["none", "embeddings", "encoder"] = Field(
        "none", description="Part that does not learn: embeddings saves time on small data, encoder trains the head."
    )
    early_stopping_patience: int | None = Field(
        2, ge=1, description="Evaluations without a better validation score before training stops; null never stops."
    )
    device: Device = Field("auto", description="auto takes a GPU where there is one.")
    precision: Precision = Field("auto", description="auto takes bf16 where the hardware really has it.")
    gradient_checkpointing: bool = Field(False, description="Spend time to save memory.")
    seed: int = Field(42, ge=0, description="Seed of the head, the dropout and the order of rows.")
    max_hours: float = Field(24, gt=0, description="Training is stopped with an error after so many hours.")


class Serving(Section):
    """Limits and defaults of the endpoint."""

    host: str = Field("127.0.0.1", description="Address the endpoint listens on; the default is this machine only.")
    port: int = Field(3000, ge=0, le=65535, description="Port; 0 takes a free one.")
    top_k: int = Field(3, ge=1, le=100, description="Labels in an answer unless the request says otherwise.")
    max_texts: int = Field(64, ge=1, le=10_000, description="Most texts in one request.")
    max_characters: int = Field(20_000, ge=1, description="Longest text in a request, in characters.")
    timeout_seconds: float = Field(10, gt=0, description="A request is refused when it would take longer.")
    engine: ServingEngine = Field(
        "auto",
        description="What computes the model: auto takes the fastest for this processor that keeps max_accuracy_loss; "
        "where the named one does not keep it, the next more exact one is taken.",
    )
    max_accuracy_loss: Share = Field(
        0.005, description="How much evaluation.metric may drop on the frozen rows by the engine, in points."
    )
    log_requests: bool = Field(True, description="Whether requests are logged: lengths and keyed hashes, no texts.")
    log_texts: Share = Field(0.0, description="Share of the requests that are logged with texts and answers.")
    log_projections: bool = Field(
        True, description="Whether 16 numbers stand for each text in the log, so that the monitor sees new subjects."
    )


class RunConfig(Section):
    """A model that must stay good."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=60,
        description="Name of the model in MLflow, in the bundle and in every command: lower case, digits, hyphens.",
    )
    description: str = Field("", description="One sentence for the model card.")
    task_type: str = Field("text_classification", description="What the model does.")
    task: Mapping[str, Any] = Field(default_factory=dict, description="Settings that only this task type has.")
    data: Data = Field(description="The data files.")
    validation: Validation = Field(Validation(), description="Limits and severities of the checks.")
    model: Model = Field(description="The base model.")
    training: Training = Field(Training(), description="Fine-tuning.")
    evaluation: Evaluation = Field(Evaluation(), description="Scores on the frozen rows.")
    gate: Gate = Field(Gate(), description="The decision.")
    serving: Serving = Field(Serving(), description="The endpoint.")
    schedule: Schedule = Field(Schedule(), description="When it is retrained by itself.")
    triggers: Triggers = Field(Triggers(), description="What else retrains it.")
    monitor: Monitor = Field(Monitor(), description="What is watched once it is live.")
    retention: Retention = Field(Retention(), description="What is kept.")
    notify: Notify = Field(Notify(), description="Who is told when a run needs a person.")
    folder: Path = Field(Path(), exclude=True, description="Folder of the run file; set when it is read.")

    @model_validator(mode="after")
    def _a_counted_holdout_stays(self) -> RunConfig:
        if self.gate.decisions_per_holdout is not None and self.data.test is None:
            raise ValueError(
                "gate.decisions_per_holdout needs data.test: frozen rows that are a share of train are other rows with "
                "each delivery, though mostly the same texts"
            )
        return self
