"""How things look in a terminal: progress on stderr, results on stdout, one line a step where there is no screen."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import ProjectError, RejectedData
from flows.progress import StepOutcome

SECONDS_BETWEEN_LINES = 10.0
BAR_CELLS = 24

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

TITLES = {
    "fine_tune": "fine-tune",
    "evaluate champion": "champion",
}


class ConsoleListener:
    """Shows a run's steps on stderr: one line each, and below them a bar where there is a screen."""

    def __init__(self) -> None:
        self._last_line = 0.0
        self._status = err.status("") if err.is_terminal else None

    def started(self, step: str) -> None:
        self._last_line = monotonic()
        self._show(f"  [bold]{_title(step)}[/] …")

    def progressed(self, step: str, share: float, text: str) -> None:
        if self._status is not None:
            full = round(share * BAR_CELLS)
            self._show(f"  [bold]{_title(step)}[/] {'━' * full}[dim]{'━' * (BAR_CELLS - full)}[/] {escape(text)}")
        elif monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = monotonic()
            err.print(f"  {_title(step)} {share:4.0%}  {escape(text)}")

    def finished(self, outcome: StepOutcome) -> None:
        self.close()
        time = "reused" if outcome.outcome == "reused" else f"{outcome.seconds:.1f} s"
        err.print(f"  [bold]{_title(outcome.name)}[/] {time:>8}  {escape(outcome.detail)}")

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._status is not None:
            self._status.stop()

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)
            self._status.start()


def show_warnings() -> None:
    """Let what our own code logs as a warning reach the screen, without any library's lines."""
    logger = logging.getLogger("rebert")
    if not any(type(handler) is logging.StreamHandler for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("  %(message)s"))
        logger.addHandler(handler)


def _title(step: str) -> str:
    return f"{TITLES.get(step, step):<10}"


def say(text: str) -> None:
    """A line for the person, on stderr, never part of a result."""
    err.print(escape(text))


def show_error(error: ProjectError) -> None:
    """A user's mistake in two lines; where a delivery was stopped, also where every failing row stands."""
    err.print(f"[bold red]{escape(error.problem)}[/]\n[bold]To fix:[/] {escape(error.hint)}")
    if isinstance(error, RejectedData) and error.report:
        err.print(f"[bold]Every row:[/] {escape(error.report)}/validation.html, quarantine.jsonl")


def error_content(error: ProjectError) -> dict[str, str]:
    """A user's mistake as a part of a JSON object."""
    return {"problem": error.problem, "hint": error.hint}


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()  # whoever reads a pipe may wait for it while the command goes on


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in header:
        # A time in two lines is hard to read.
        table.add_column(name, overflow="fold", no_wrap=name.startswith("when"))
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def print_text(text: str) -> None:
    """Plain text on stdout, as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def print_markdown(text: str) -> None:
    """Markdown on stdout: drawn on a screen, as it is in a pipe."""
    if not out.is_terminal:
        print_text(text)
        return
    from rich.markdown import Markdown

    out.print(Markdown(text))
