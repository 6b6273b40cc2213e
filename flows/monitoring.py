"""The monitor at work: what is live and what was asked of it, one look, and what follows from it.

`rebert monitor` and the flow of the same name do the same; a look at a window that somebody names changes nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.config import RunConfig
from components.digests import canonical
from components.errors import ConfigError, ProjectError, RegistryError
from components.monitoring.judging import Look, Watched, learn, look
from components.monitoring.memory import Memory, recall, remember
from components.monitoring.monitor_report import report_content, report_in_words
from components.monitoring.request_lines import find_logs
from components.records import RegisteredVersion
from components.run_files import read_run_file
from components.settings import Settings
from components.step_store import storage_errors, temporary_folder
from flows import console
from flows.alarms import act
from flows.references import find_reference

log = logging.getLogger("rebert.flows")
WINDOW = re.compile(r"(\d+)(h|d)?")


@dataclass(frozen=True)
class Subject:
    """The model that is watched, by its run file, and its live version."""

    config: RunConfig
    settings: Settings
    version: RegisteredVersion

    @property
    def folder(self) -> Path:
        return self.settings.home / "monitor" / self.config.name


def monitor_model(model: str, settings: Settings, window: str | None, as_json_object: bool) -> None:
    """`rebert monitor NAME|FILE`: judge what was asked since the last look, or look at a window that is named.

    Raises:
        ProjectError: there is no such model, nothing of it is live, or its log cannot be read.
    """
    since, rows = (None, None) if window is None else _window(window)
    subject = find_subject(model, settings)
    if window is None:
        judged = judge(subject)
        found, action = judged.look, judged.action
    else:
        found, action = look(watched(subject), Memory(subject.version.version), since=since, rows=rows), ""
    if as_json_object:
        console.print_json(report_content(found, action))
    else:
        console.print_markdown(report_in_words(found, action))


@dataclass(frozen=True)
class Judged:
    """A look, what was done because of it in words, and its pictures as markdown."""

    look: Look
    action: str = ""
    pictures: str = ""


def judge(subject: Subject) -> Judged:
    """Judge the next window, remember it, show it in MLflow, and do what follows.

    Raises:
        ProjectError: a log or a reference cannot be read, or MLflow is away.
    """
    from flows.approving import close_expired

    with _alone(subject):
        close_expired(subject.settings, subject.config)
        memory = recall(subject.folder, subject.version.version)
        seen = watched(subject)
        found = look(seen, memory)
        if found.verdict is None:
            return Judged(found)
        memory = learn(seen, memory, found)
        remember(subject.folder, memory)  # before anything is done: a window is judged once, whatever happens next
        action, memory = act(subject, found, memory)
        remember(subject.folder, memory)
        return Judged(found, action, record(subject, found, action))


def find_subject(model: str, settings: Settings) -> Subject:
    """The model of a run file, or of a name by the run file that its live version was made from.

    Raises:
        ConfigError: the run file is wrong.
        RegistryError: there is no such model, or no version of it is live.
    """
    from components import registry
    from components.tracking import read_recipe

    config = read_run_file(Path(model)) if Path(model).suffix in (".yaml", ".yml") else None
    name = config.name if config else model
    live = registry.champion(settings, name)
    if live is None:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(f"No version of '{name}' is live; models here: {known}.", "run its run file first.")
    return Subject(config or read_recipe(settings, live)[0].run_config(), settings, live)


def watched(subject: Subject) -> Watched:
    """What a look needs of a model.

    Raises:
        ConfigError: monitor.log names nothing that is there.
        ProjectError: the reference cannot be had.
    """
    from components.serving.places import places_of
    from components.task_types import find_task_type

    config, places = subject.config, places_of(subject.settings, subject.config.name)
    own = places.requests or Path()
    return Watched(
        name=config.name,
        version=subject.version.version,
        kind=find_task_type(config.task_type),
        settings=config.monitor,
        logs=find_logs(config.monitor.log, own, config.folder),
        feedback=places.feedback or Path(),
        folder=subject.folder,
        reference=find_reference(subject.settings, subject.version),
    )


def record(subject: Subject, found: Look, action: str) -> str:
    """Show a look in MLflow; an MLflow that is away changes nothing about what was found.

    Returns:
        The pictures, and where MLflow has them, as markdown for Prefect.
    """
    from components.monitoring.monitor_plots import draw_look, pictures_in_markdown
    from components.tracking import log_look, run_page

    content = report_content(found, action)
    with temporary_folder() as folder:
        (folder / "report.md").write_text(report_in_words(found, action), encoding="utf-8")
        (folder / "report.json").write_text(canonical(content), encoding="utf-8")
        pictures, page = pictures_in_markdown(draw_look(found, folder)), None
        try:
            page = run_page(subject.settings, log_look(subject.settings, subject.version, content, folder))
        except ProjectError as error:
            log.warning("The monitor's report is not in MLflow: %s", error.problem)
    return pictures + (f"\nAll windows are in [MLflow]({page}).\n" if page else "")


@contextmanager
def _alone(subject: Subject) -> Iterator[None]:
    """One look at a model at a time."""
    from filelock import FileLock

    with storage_errors(subject.folder):
        subject.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(subject.folder / ".lock")
    with lock:
        yield


def _window(text: str) -> tuple[str | None, int | None]:
    """What --window names: hours or days as a time, or a number of texts."""
    match = WINDOW.fullmatch(text)
    if match is None or not int(match[1]):
        raise ConfigError(
            f"'{text}' is no window.", "write a number of answered texts, or hours or days: 500, 24h, 7d."
        )
    number, unit = int(match[1]), match[2]
    if unit is None:
        return None, number
    ago = timedelta(hours=number * (24 if unit == "d" else 1))
    return (datetime.now(UTC) - ago).isoformat(timespec="milliseconds"), None
