"""The run file's sections about the decision: what is measured on the frozen rows, and what a candidate must show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from components.config_values import Paths, Section, Share

SliceBy = Literal["length", "script", "label"]
Perturbation = Literal[
    "casing", "typo", "full_width", "half_width", "traditional", "simplified", "punctuation", "numbers"
]


class Behaviour(Section):
    """How a model must behave whatever its labels: types with labels and scores only."""

    invariant_to: tuple[Perturbation, ...] = Field(
        (), description="Changes of the frozen rows' texts that must not change an answer."
    )
    rows: int = Field(200, ge=1, description="Frozen rows at most that each of these changes is tried on.")
    files: Paths | None = Field(None, description="YAML files of checks of your own; docs/gate.md shows their form.")

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to try."""
        return bool(self.invariant_to or self.files)


class Evaluation(Section):
    """What is measured on the frozen rows."""

    metric: str = Field(
        "accuracy",
        description="The primary metric: chooses the best epoch and is what the gate compares. "
        "Left out: the first that the task type has.",
    )
    slices: tuple[str, ...] = Field((), description="Columns whose values are also scored one by one.")
    slice_by: tuple[SliceBy, ...] = Field(
        (), description="What else is scored one by one: length (bands of characters), script (Han, Latin, …), label."
    )
    documents: str | None = Field(
        None,
        min_length=1,
        description="Column with the document, customer or passage of a row, where rows of one are not independent: "
        "tests and intervals of the gate then resample these; left out: every row stands for itself, "
        "in question answering every passage.",
    )
    min_slice_rows: int = Field(30, ge=1, description="Smaller slices are listed but not judged.")
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Resamplings behind each interval.")

    behaviour: Behaviour = Field(Behaviour(), description="Behavioural checks.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the files that are read for the evaluation alone."""
        return tuple(dict.fromkeys([*self.slices, *([self.documents] if self.documents else [])]))


class Gate(Section):
    """When a candidate replaces the champion."""

    mode: Literal["superiority", "non_inferiority"] = Field(
        "superiority",
        description="superiority: better by more than margin; non_inferiority: not worse by more than margin.",
    )
    margin: Share = Field(0.0, description="In points of the metric, 0.01 is one percentage point.")
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="With superiority, two equal models are promoted at most 1 - confidence of the time.",
    )
    power: float = Field(
        0.8, gt=0.5, lt=1, description="How surely a difference must be found to be called one that this test set sees."
    )
    floor: float = Field(0.5, ge=-1, le=1, description="Lowest score with which any model, also the first, goes live.")
    seeds: int = Field(
        1,
        ge=1,
        le=50,
        description="Fine-tunings with different seeds, this one included; of 3 and more the spread counts: their mean "
        "must be shown to reach what is asked for, too. Each costs a training.",
    )
    max_total_drop: Share | None = Field(
        None,
        description="Allowed loss against the best version ever accepted, so that small drops do not add up; left out: "
        "margin with non_inferiority, 0 with superiority.",
    )
    max_slice_drop: Share = Field(
        0.1, description="Largest drop on any judged slice; a smaller one refuses too where a test shows it."
    )
    required_slices: tuple[str, ...] = Field(
        (), description="Slices that must be there and be judged, as COLUMN=VALUE, such as language=zh."
    )
    dropped_slices: tuple[str, ...] = Field(
        (),
        description="Slices that may be missing from new frozen rows, or be too small there, although the champion was "
        "judged on them when it went live, as COLUMN=VALUE.",
    )
    max_slice_gap: Share | None = Field(
        None, description="Largest gap of the metric between the judged slices of one column; null only reports it."
    )
    max_odds_gap: Share | None = Field(
        None,
        description="Largest gap of any label's recall or false-positive rate between the judged slices of one column "
        "(equalised odds); null only reports it.",
    )
    max_behaviour_failures: Share | None = Field(
        None, description="Largest share of failed cases of any capability of evaluation.behaviour; null sets no limit."
    )
    decisions_per_holdout: int | None = Field(
        None,
        ge=1,
        description="How many decisions one set of frozen rows is meant for: 1 - confidence is divided among them, and "
        "after the last one the gate asks for new rows. null only counts them.",
    )
    max_calibration_error: Share | None = Field(
        None, description="Largest expected calibration error on the frozen rows; null asks for none."
    )
    max_latency_ms: float | None = Field(
        None, gt=0, description="Slowest answer, p95 of single texts by the running bundle, in milliseconds."
    )
    max_size_mb: float | None = Field(None, gt=0, description="Largest bundle, all its files, in megabytes.")
    max_core_seconds: float | None = Field(
        None, gt=0, description="Most time of a processor core that the running bundle takes for 1,000 single texts."
    )
    core_watts: float = Field(
        10,
        gt=0,
        description="What a busy core draws, for the estimate of the energy; a processor's watts by its cores.",
    )
    approval: bool = Field(
        False, description="A candidate that passes waits until a person approves it: rebert approve NAME VERSION."
    )
    approval_days: float = Field(7, gt=0, le=366, description="How long it may be approved.")

    @property
    def alpha(self) -> float:
        """The largest p-value that one decision passes with."""
        return (1 - self.confidence) / (self.decisions_per_holdout or 1)

    @property
    def guard_alpha(self) -> float:
        """The level of tests that refuse what they show to be worse: not divided, which would blunt them."""
        return 1 - self.confidence

    @property
    def bound(self) -> float:
        """The difference, candidate minus champion, that has to be exceeded."""
        return self.margin if self.mode == "superiority" else -self.margin

    @model_validator(mode="after")
    def _not_worse_by_nothing_is_better(self) -> Gate:
        if self.mode == "non_inferiority" and not self.margin:
            raise ValueError("non_inferiority needs a margin above 0: not worse by nothing at all is superiority")
        return self

    @field_validator("seeds")
    @classmethod
    def _two_seeds_have_no_spread_to_speak_of(cls, seeds: int) -> int:
        if seeds == 2:
            raise ValueError("two seeds say next to nothing about their spread; take 1, or 3 and more")
        return seeds

    @field_validator("required_slices", "dropped_slices")
    @classmethod
    def _slices_are_named_by_column_and_value(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in names if not all(name.partition("="))]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))} must be written as COLUMN=VALUE")
        return names
