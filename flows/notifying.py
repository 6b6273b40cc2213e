"""Telling somebody: what becomes of a run reaches a webhook or a Prefect notification block, each event once.

A run tells of itself. One whose process died is told of by whoever looks next: the next run on this machine, the worker
that ran it, or `rebert notify`. A receiver that is down changes nothing about a run; it is logged, and tried again.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from components.config import Occasion, RunConfig
from components.errors import BusyError, ConfigError, OrchestrationError, ProjectError, RejectedData
from components.notices import Begun, Notice, Outbox, begun_now
from components.run_files import read_run_file
from components.settings import Settings, read_settings, without_passwords
from flows import console
from flows.receivers import ADDRESS, Undelivered, deliver, is_set
from flows.results import RunResult
from flows.running import prepare_prefect
from flows.zombies import crash_in_prefect, mark_told

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

log = logging.getLogger("rebert.flows")

SIGN_SECONDS = 60.0  # between two signs of life of a run; after ten minutes without one it counts as dead elsewhere


class Report:
    """What the run that is at work says of itself."""

    def __init__(self, config: RunConfig, settings: Settings, run: str, run_file: Path) -> None:
        self.config = config
        self.settings = settings
        self.run = run
        self.run_file = run_file
        self.outbox = outbox_of(settings, config.name)

    def ended(self, result: RunResult) -> None:
        """The run has come to a decision, or had nothing to do."""
        since = self.outbox.failing_since()
        self.outbox.works()
        if since is not None:
            why = f"Since {since[:16]} UTC it had not. {result.outcome.capitalize()}: {result.reason}"
            self.tell("recovered", why, "rebert models", f"episode {self.outbox.failures()}")
        if result.outcome == "refused":
            look = f"rebert explain {result.model} {result.version}"
            self.tell("refused", result.reason, look, f"version {result.version}")
        elif result.outcome == "waiting":
            look = f"rebert approve {result.model} {result.version} --reason '…'"
            self.tell("waiting", result.reason, look, f"version {result.version} waits: {result.reason}")

    def failed(self, error: Exception) -> None:
        """The run has failed: the same failure again is the same event until a run works."""
        self.outbox.fails()
        if isinstance(error, RejectedData):
            report = Path(error.report, "validation.md")
            why = f"{error.problem} To fix: {error.hint} The version that is live stays."
            self.tell("rejected", why, f"cat {shlex.quote(str(report))}", error.report)
            return
        why = f"{error.problem} To fix: {error.hint}" if isinstance(error, ProjectError) else in_a_line(error)
        self.tell("failed", why, look_at(self.run, self.run_file), f"episode {self.outbox.failures()}: {why}")

    def tell(self, occasion: Occasion, why: str, look: str, event: str) -> None:
        """Send a notice, if the run file wants it."""
        if occasion in self.config.notify.of:
            send_once(self.settings, Notice(self.config.name, occasion, self.config.notify.to, why, look, event))


@contextmanager
def reported(config: RunConfig, settings: Settings, run_file: Path, run: str | None = None) -> Iterator[Report]:
    """Tell what becomes of a run; to be entered with the model's lock held.

    Args:
        run: the id of Prefect's flow run, where there is one.
    """
    report = Report(config, settings, run or "", run_file)
    sign = begun_now(run or uuid4().hex, str(run_file), config.notify.to, config.notify.of)
    died = report.outbox.begin(sign)
    if died is not None:
        tell_crash(settings, config.name, died)
    sweep(settings)
    over = threading.Event()
    signs = threading.Thread(target=_go_on, args=(report.outbox, over), daemon=True)
    signs.start()
    try:
        yield report
    except Exception as error:
        report.failed(error)
        raise
    finally:
        over.set()
        signs.join()
        report.outbox.end()


def _go_on(outbox: Outbox, over: threading.Event) -> None:
    while not over.wait(SIGN_SECONDS):
        try:
            outbox.go_on()
        except ProjectError as error:  # a full disk; the next sign may be given again
            log.info("no sign of life: %s", error.problem)


@contextmanager
def failures_told(config: RunConfig, settings: Settings, run_file: Path, run: str) -> Iterator[None]:
    """Tell of a failure before the model's lock was held or after it was given back; one told already is told once.

    That the model is busy is none: who started the run by hand sees it, and any other run waits.
    """
    try:
        yield
    except BusyError:
        raise
    except Exception as error:  # also what is a bug, or Prefect's server gone; its signals are none of these
        Report(config, settings, run, run_file).failed(error)
        raise


def read_or_tell(settings: Settings, run_file: Path) -> RunConfig:
    """The settings in a run file; one that cannot be read names no address, so the default one is told.

    Raises:
        ConfigError: it cannot be read.
    """
    outbox = outbox_of(settings, f"file-{run_file.stem}")  # its own: the model's name is not known
    try:
        config = read_run_file(run_file)
    except ConfigError as error:
        _tell_unreadable(settings, run_file, outbox, error)
        raise
    outbox.works()
    return config


def _tell_unreadable(settings: Settings, run_file: Path, outbox: Outbox, error: ConfigError) -> None:
    outbox.fails()
    event = f"episode {outbox.failures()}: {error.problem}"
    why = f"{error.problem} To fix: {error.hint}"
    look = f"rebert plan {shlex.quote(str(run_file))}"
    send_once(settings, Notice(outbox.folder.name, "failed", None, why, look, event))


def tell_crash(settings: Settings, model: str, died: Begun, *, failing: bool = True) -> bool:
    """A run's process died, however; its work is not lost.

    Args:
        failing: whether the model has failed since; a crash that is noticed late may have a good run behind it.

    Returns:
        Whether somebody was told now.
    """
    if failing:
        outbox_of(settings, model).fails()
    crash_in_prefect(settings, [died.run])
    if "crashed" not in died.of:
        mark_told(settings, died.run)
        return False
    why = "Its process died: killed, out of memory, or the machine went down. The next run goes on where it was."
    look = look_at(died.run, Path(died.run_file))
    sent = send_once(settings, Notice(model, "crashed", died.to, why, look, f"run {died.run}"))
    if sent:  # else another machine may have the address, or reach it
        mark_told(settings, died.run)
    return sent


def crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect calls it
    """Prefect's hook, called by the worker whose child died: it knows of runs that died before they could begin."""
    settings = settings_of(flow_run)
    run_file = Path(flow_run.parameters["run_file"])
    try:
        config = read_run_file(run_file)
    except ConfigError:
        return
    outbox_of(settings, config.name).died()
    tell_crash(settings, config.name, begun_now(str(flow_run.id), str(run_file), config.notify.to, config.notify.of))


def settings_of(flow_run: FlowRun) -> Settings:
    """The settings that a run's process had, for the worker that speaks in its place."""
    return read_settings({**os.environ, **(flow_run.job_variables or {}).get("env", {})}, Path.cwd())


def sweep(settings: Settings) -> int:
    """Tell of every run on this machine whose process died, and try again what could not be sent.

    Returns:
        How many notices were sent.
    """
    root = settings.home / "notices"
    sent = 0
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        outbox = Outbox(folder, folder.name)
        died = outbox.died()
        if died is not None:
            sent += tell_crash(settings, folder.name, died)
        sent += sum(_send(outbox, notice) for notice in outbox.waiting())
    return sent


def outbox_of(settings: Settings, model: str) -> Outbox:
    """The notices of a model."""
    return Outbox(settings.home / "notices" / model, model)


def look_at(run: str, run_file: Path) -> str:
    """The command that shows more of a run: Prefect's log of it, or the plan of the next one."""
    if "-" in run and os.environ.get("PREFECT_API_URL"):
        return f"prefect flow-run logs {run}"
    return f"rebert plan {shlex.quote(str(run_file))}"


def send_once(settings: Settings, notice: Notice) -> bool:
    """Send a notice unless its event was told before; whatever goes wrong is logged and nothing else.

    Returns:
        Whether it has reached somebody now.
    """
    if notice.to is None and not is_set(os.environ, ADDRESS):
        return False
    outbox = outbox_of(settings, notice.model)
    try:
        claimed = outbox.claim(notice)
    except ProjectError as error:
        log.warning("Nobody was told that %s: %s", notice.subject, error.problem)
        return False
    return claimed is not None and _send(outbox, claimed)


def _send(outbox: Outbox, notice: Notice) -> bool:
    try:
        deliver(notice.to, notice.subject, notice.body)
    except (Undelivered, ProjectError) as error:
        log.warning("Nobody was told that %s: %s It is tried again with the next run.", notice.subject, error)
        outbox.settle(notice, sent=False)
        return False
    outbox.settle(notice, sent=True)
    log.info("told %s: %s", notice.to or "the default address", notice.subject)
    return True


def show_sweep(settings: Settings) -> None:
    """`rebert notify`: what `sweep` has done, in a line."""
    sent = sweep(settings)
    console.print_text(f"{sent} notice{'' if sent == 1 else 's'} sent." if sent else "Nothing to tell.")


def send_test(run_file: Path, settings: Settings) -> None:
    """`rebert notify FILE`: a test message to whom the run file names.

    Raises:
        ConfigError: there is no such address.
        OrchestrationError: the receiver did not take it.
    """
    config = read_run_file(run_file)
    to = config.notify.to
    prepare_prefect(settings)
    try:
        deliver(to, f"{config.name}: a test", f"You will be told of: {', '.join(config.notify.of) or 'nothing'}.")
    except Undelivered as error:
        raise OrchestrationError(f"Nobody was told: {error}", f"correct the address of {to or ADDRESS}.") from error
    console.print_text(f"Sent to {to or ADDRESS}.")


def in_a_line(error: Exception) -> str:
    """What a bug says, in one line without passwords."""
    return without_passwords(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}")
