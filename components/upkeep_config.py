"""The run file's sections about what happens by itself: when the model is retrained, what is kept, who is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.config_values import Paths, Section

Occasion = Literal["failed", "crashed", "rejected", "refused", "waiting", "recovered", "drifted"]


class Schedule(Section):
    """When the model is retrained by itself; `rebert deploy` tells Prefect."""

    cron: str | None = Field(
        None, pattern=r"^\S+( \S+){4}$", description="Five fields: minute, hour, day, month, weekday; or every_hours."
    )
    every_hours: float | None = Field(None, ge=0.05, le=24 * 366, description="Hours from run to run.")
    timezone: str = Field("UTC", description="Whose clock cron goes by, such as Europe/Berlin.")
    work_pool: str = Field("rebert", min_length=1, description="Prefect's work pool; made if needed, of processes.")

    @model_validator(mode="after")
    def _is_one_rhythm_on_a_known_clock(self) -> Schedule:
        from zoneinfo import ZoneInfo

        if self.cron is not None and self.every_hours is not None:
            raise ValueError("cron and every_hours exclude each other")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone '{self.timezone}'; write one such as Europe/Berlin") from error
        return self


class Retention(Section):
    """What is kept of all that runs leave behind; see `rebert prune`."""

    keep: int | None = Field(
        None,
        ge=1,
        description="After each run everything goes that is not needed and not among so many newest; null keeps all.",
    )


class Triggers(Section):
    """What retrains the model beside the schedule, through a Prefect server, and what keeps that from storming."""

    watch: Paths | None = Field(
        None,
        description="Where new data lands: paths, globs, or addresses such as s3://bucket/reviews/*.csv; "
        "`rebert watch` looks there and has the model run once a delivery is complete.",
    )
    settle_seconds: float = Field(
        60,
        ge=1,
        description="A delivery is complete when nothing there has changed for so long; raise for slow uploads.",
    )
    done_file: str | None = Field(
        None,
        pattern=r"^[^/]+$",
        description="Name of a file beside the data that says that it is complete, such as _SUCCESS; left out: none.",
    )
    events: tuple[str, ...] = Field((), description="Prefect events that have the model run, such as data.arrived.")
    cooldown_minutes: float = Field(
        60, ge=0, description="Pause after each run before a triggered one; what is triggered meanwhile is one run."
    )
    max_runs_a_day: int = Field(6, ge=1, le=100, description="Triggered runs in any 24 hours, at most; others wait.")


class Notify(Section):
    """Who is told when a run needs a person. The address is a secret: it is named here, and lies elsewhere."""

    to: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]*(/[a-z0-9-]+)?$",
        description="NAME takes the address in REBERT_WEBHOOK_NAME, or in the file that REBERT_WEBHOOK_NAME_FILE "
        "names; TYPE/NAME a Prefect notification block, such as slack-webhook/ops; left out: REBERT_WEBHOOK, if set.",
    )
    of: tuple[Occasion, ...] = Field(
        ("failed", "crashed", "rejected", "refused", "waiting", "recovered", "drifted"),
        description="What is told: failed, crashed (its process died), rejected data, a refused version, one waiting "
        "for approval, recovered, the first run that works after others did not, and drifted, an alarm of the monitor. "
        "An empty list tells nothing.",
    )
