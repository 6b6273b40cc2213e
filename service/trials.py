"""Follows the file of a trial: loads the version that it names, tries it, and ends when that or a verdict says so."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from components.errors import BundleError, ProjectError
from components.serving.trials import Trial, end_file, how_it_ended, note_end, read_trial
from service.contest import Contest
from service.engine import Engine, load_engine
from service.live import Live, without_folders
from service.metrics import Metrics
from service.watched_file import WatchedFile

POLL_SECONDS = 0.25

log = logging.getLogger(__name__)


class Trials:
    """The version on trial, if any, and a thread that watches for it.

    Args:
        live: says which version answers.
        path: the file of the trial; None where nothing is ever tried.
        metrics: what is counted.
        end: the file in which an end is noted; None for the one beside the file of the trial.
    """

    def __init__(self, live: Live, path: Path | None, metrics: Metrics, end: Path | None = None) -> None:
        self.live = live
        self.end = end or (end_file(path) if path else None)
        self.file = WatchedFile(path)
        self.metrics = metrics
        self.current: Contest | None = None
        self.last: dict[str, Any] | None = None  # what became of the trial that is over or was refused
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="trials", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        if self.file.path is not None:
            self.thread.start()

    def stop(self) -> None:
        """End the watching, and what is tried."""
        self.ended.set()
        if self.thread.ident is not None:
            self.thread.join()
        self._end()

    def state(self) -> dict[str, Any] | None:
        """What `GET /model` says of the trial; None where there is none."""
        contest = self.current
        return contest.state() if contest else self.last

    def _watch(self) -> None:
        while not self.ended.wait(POLL_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("The trial could not be looked at.")

    def look(self) -> None:
        """Follow the file if it has changed, and the verdict if there is one."""
        if self.file.path is not None and self.file.changed():
            self._end()
            self._begin(self.file.path)
        contest = self.current
        if contest is None:
            return
        if contest.trial.version == self.live.engine().release.version:
            contest.verdict = "It is live now."
        if contest.verdict:
            self._return(contest)

    def _begin(self, path: Path) -> None:
        self.last = None
        trial: Trial | None = None
        try:
            trial = read_trial(path)
            if trial is None:
                return
            if self.end and (over := how_it_ended(self.end, trial)):
                self.last = _over(trial, over.reason)
                return
            contest = Contest(trial, self._load(trial), self.metrics)
        except ProjectError as error:
            log.error("There is no trial: %s", error)  # noqa: TRY400 - a person can mend it; no traceback
            self.last = _over(trial, without_folders(error.problem), "refused") if trial else None
            return
        contest.start()
        self.current = contest
        self.metrics.trial(trial.mode, trial.version)
        log.info("Version %d is tried as %s with %g of the requests.", trial.version, trial.mode, trial.share)

    def _load(self, trial: Trial) -> Engine:
        engine, live = load_engine(trial.path / "src"), self.live.engine()
        if (engine.release.version, engine.release.model_digest) != (trial.version, trial.model_digest):
            raise BundleError("The bundle is not the one that the trial means.", "begin the trial again.")
        ours = (engine.release.name, engine.manifest.task_type, engine.requests.inputs)
        if ours != (live.release.name, live.manifest.task_type, live.requests.inputs):
            raise BundleError("It does not read what the live version reads.", "try a version of the same model.")
        return engine

    def _return(self, contest: Contest) -> None:
        """End a trial by its verdict, for good."""
        log.error("The trial of version %d is over: %s", contest.trial.version, contest.verdict)
        self._end()
        self.last = contest.state()
        try:
            if self.end is not None:
                note_end(self.end, contest.trial, contest.verdict)
        except ProjectError as error:
            log.error("A restart would begin the trial again: %s", error.problem)  # noqa: TRY400

    def _end(self) -> None:
        contest, self.current = self.current, None
        if contest is not None:
            contest.stop()
            self.metrics.trial(None, 0)


def _over(trial: Trial, reason: str, state: str = "ended") -> dict[str, Any]:
    facts = {"version": trial.version, "mode": trial.mode, "share": trial.share, "state": state, "reason": reason}
    return {**facts, "requests": 0, "rows": 0, "disagreements": 0, "errors": 0, "dropped": 0}
