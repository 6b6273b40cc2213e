"""The monitor at work: what is live and what was asked of it, one look, and what follows from it.

`rebert monitor` and the flow of the same name do the same; a look at a window that somebody names changes nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from components.config import RunConfig
from components.digests import canonical
from components.errors import ConfigError, OrchestrationError, ProjectError, RegistryError
from components.monitoring.judging import Look, Watched, learn, look
from components.monitoring.measure_words import NAMES
from components.monitoring.memory import Memory, recall, remember
from components.monitoring.monitor_report import report_content, report_in_words
from components.monitoring.request_lines import find_logs
from components.notices import Notice
from components.records import RegisteredVersion
from components.run_files import read_run_file
from components.settings import Settings
from flows import console
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
        found, action = judge(subject)
    else:
        found, action = look(watched(subject), Memory(subject.version.version), since=since, rows=rows), ""
    if as_json_object:
        console.print_json(report_content(found, action))
    else:
        console.print_markdown(report_in_words(found, action))


def judge(subject: Subject) -> tuple[Look, str]:
    """Judge the next window, remember it, show it in MLflow, and do what follows; returns what was done, in words.

    Raises:
        ProjectError: a log or a reference cannot be read, or MLflow is away.
    """
    with _alone(subject):
        memory = recall(subject.folder, subject.version.version)
        seen = watched(subject)
        found = look(seen, memory)
        if found.verdict is None:
            return found, ""
        memory = learn(seen, memory, found)
        remember(subject.folder, memory)  # before anything is done: a window is judged once, whatever happens next
        new = memory.untold()
        action, done = act(subject, found, memory, new) if new else ("", True)
        if done:
            remember(subject.folder, memory.told(new))
        record(subject, found, action)
    return found, action


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


def act(subject: Subject, found: Look, memory: Memory, new: Sequence[str]) -> tuple[str, bool]:
    """What follows from alarms that are new: a run, or a notice; in words, and whether it is done with."""
    named = " and ".join(NAMES[name] for name in new)  # type: ignore[index]
    if any(name in subject.config.monitor.retrain_on for name in new):
        try:
            return _ask_for_run(subject, named), True
        except OrchestrationError as error:
            action = f"No run was asked for: {error.problem}"
            # The next look tries again; the notice is not sent twice.
            return f"{action} {_tell(subject, found, memory, new, action)}", False
    return _tell(subject, found, memory, new), True


def _ask_for_run(subject: Subject, named: str) -> str:
    """Have the model run, within the limits of its triggers.

    Raises:
        OrchestrationError: there is no server, it is not deployed, or its runs are paused.
    """
    from prefect.client.orchestration import get_client

    from flows.deployed import require_deployment, require_server, require_unpaused
    from flows.triggers import ask_for_run, in_words

    name = subject.config.name
    require_server(subject.settings)
    with get_client(sync_client=True) as client:
        deployment = require_deployment(client, name)
        require_unpaused(deployment)
        wait = ask_for_run(client, deployment, subject.config.triggers, f"the monitor: {named}")
    return f"A run was asked for; it begins {f'not before {in_words(wait)}.' if wait else 'now.'}"


def _tell(subject: Subject, found: Look, memory: Memory, new: Sequence[str], why: str = "") -> str:
    from flows.notifying import send_once

    notify = subject.config.notify
    if "drifted" not in notify.of:
        return "Nobody is told: notify.of leaves out drifted."
    text = f"Version {found.version}. {found.reason}" + (f" {why}" if why else "")
    event, look_further = memory.event(new), f"rebert monitor {found.name} --window {len(found.window.rows) or 1}"
    sent = send_once(subject.settings, Notice(found.name, "drifted", notify.to, text, look_further, event))
    return "Somebody was told." if sent else "Nobody was told: no address is set, or it was told before."


def record(subject: Subject, found: Look, action: str) -> None:
    """Show a look in MLflow; an MLflow that is away changes nothing about what was found."""
    from components.monitoring.monitor_plots import draw_look
    from components.tracking import log_look

    content = report_content(found, action)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "report.md").write_text(report_in_words(found, action), encoding="utf-8")
        (folder / "report.json").write_text(canonical(content), encoding="utf-8")
        draw_look(found, folder)
        try:
            log_look(subject.settings, subject.version, content, folder)
        except ProjectError as error:
            log.warning("The monitor's report is not in MLflow: %s", error.problem)


@contextmanager
def _alone(subject: Subject) -> Iterator[None]:
    """One look at a model at a time."""
    from filelock import FileLock

    from components.step_store import storage_errors

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
