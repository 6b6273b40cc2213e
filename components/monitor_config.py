"""The run file's section about the monitor: when it looks at what was asked, and what counts as a change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from components.config_values import Paths, PositiveShare, Section

Measure = Literal[
    "labels", "values", "confidence", "entropy", "length", "unknown_tokens", "scripts", "texts", "latency", "errors",
    "accuracy",
]  # fmt: skip
OPERATIONAL = ("latency", "errors")  # what no training mends


class Thresholds(Section):
    """How large a change must be for an alarm, however sure it is; half of it is watched."""

    labels: float = Field(0.2, gt=0, description="Population stability index of the labels, chance taken off.")
    values: PositiveShare = Field(0.15, description="Kolmogorov-Smirnov distance of a regression's numbers.")
    confidence: PositiveShare = Field(0.15, description="Kolmogorov-Smirnov distance of the confidence.")
    entropy: PositiveShare = Field(0.15, description="Kolmogorov-Smirnov distance of the entropy of the scores.")
    length: PositiveShare = Field(0.2, description="Kolmogorov-Smirnov distance of the texts' lengths in characters.")
    unknown_tokens: PositiveShare = Field(0.03, description="Rise of the mean share of unknown tokens.")
    scripts: PositiveShare = Field(
        0.1, description="Share of the texts whose script changed (Han, Latin, mixed, other)."
    )
    texts: PositiveShare = Field(
        0.2, description="How well a classifier tells the window from the baseline: 2 AUC - 1, on rows it never saw."
    )
    latency: float = Field(0.5, gt=0, description="Rise of the median time of an answer; 0.5 is half as much again.")
    errors: PositiveShare = Field(0.02, description="Rise of the share of requests without an answer (429 and 5xx).")
    accuracy: PositiveShare = Field(0.05, description="Drop of the accuracy by what people sent to /feedback.")


class Monitor(Section):
    """When the answers of the endpoint are looked at, and when that is an alarm or retrains the model."""

    cron: str | None = Field(
        None, pattern=r"^\S+( \S+){4}$", description="Five fields, on the clock of schedule.timezone; or every_hours."
    )
    every_hours: float | None = Field(None, ge=0.05, le=24 * 366, description="Hours from look to look.")
    rows: int = Field(
        1000, ge=100, le=100_000, description="Answered texts of a window: the newest since the last one, at most."
    )
    min_rows: int = Field(200, ge=50, description="A scheduled look with fewer new ones waits for more.")
    hours: float | None = Field(None, gt=0, description="A window begins no more than so many hours ago.")
    batches: bool = Field(False, description="Whether what comes by POST /batch counts, too.")
    alpha: float = Field(
        0.001,
        gt=0,
        le=0.05,
        description="Chance of a false alarm in one window, over all tests; of 365 windows a year 0.37 at most.",
    )
    thresholds: Thresholds = Field(Thresholds(), description="How large a change must be.")
    retrain_on: tuple[Measure, ...] = Field(
        ("accuracy",),
        description="Measures whose alarm has the model run, within the limits of triggers; of all alarms people are "
        "told. accuracy is judged with feedback: sample only, and for types with one label a text.",
    )
    feedback: Literal["corrections", "sample"] = Field(
        "corrections",
        description="What is sent to /feedback: corrections of what somebody found wrong, or the truth about a random "
        "sample, from which alone the accuracy can be told.",
    )
    log: Paths | None = Field(
        None, description="Request logs of endpoints elsewhere, as paths or globs; left out: that of the home folder."
    )

    @field_validator("retrain_on")
    @classmethod
    def _training_can_mend_it(cls, measures: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in measures if name in OPERATIONAL]
        if wrong:
            raise ValueError(f"no training mends {' or '.join(wrong)}")
        return measures

    @model_validator(mode="after")
    def _is_one_rhythm(self) -> Monitor:
        if self.cron is not None and self.every_hours is not None:
            raise ValueError("cron and every_hours exclude each other")
        if self.min_rows > self.rows:
            raise ValueError("min_rows must not be more than rows")
        return self

    @property
    def is_scheduled(self) -> bool:
        """Whether it looks by itself."""
        return self.cron is not None or self.every_hours is not None
