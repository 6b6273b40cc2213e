"""Which version answers: loaded on start, replaced when the release file names another, never by a bad one."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from components.errors import BundleError, ProjectError
from components.records import Bundle
from components.serving.releases import read_release_file
from service.ahead import loaded
from service.engine import Engine, load_engine
from service.watched_file import WatchedFile

POLL_SECONDS = 0.25
RETRY_SECONDS = 30.0  # between two tries of a release that is refused: what was missing may have come meanwhile
FOLDERS = re.compile(r"(?<!\S)/(?:[^/\s]+/)+")  # of an absolute path; the file's own name stays

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """A release that was not switched to. `version` is None where the release file itself cannot be read."""

    version: int | None
    tag: str | None
    reason: str


class Live:
    """The engine that answers now, and a thread that watches for its successor.

    Args:
        source: `src` folder of the bundle to start with.
        on_swap: told of each engine that goes live.
        on_refusal: told of a refused release, and of None when there is none any more.
    """

    def __init__(
        self,
        source: Path,
        on_swap: Callable[[Engine], None],
        on_refusal: Callable[[Refused | None], None],
    ) -> None:
        self.source = source
        self.release = WatchedFile(None)
        self.on_swap = on_swap
        self.on_refusal = on_refusal
        self.current: Engine | None = None
        self.refused: Refused | None = None
        self.retry_at = inf  # when a refused release is tried again, by `time.monotonic`
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="releases", daemon=True)

    def engine(self) -> Engine:
        """Who answers now.

        Raises:
            RuntimeError: nobody yet.
        """
        if self.current is None:
            raise RuntimeError("no model is loaded")
        return self.current

    def start(self, release_file: Path | None = None) -> None:
        """Load the first version, then watch.

        Args:
            release_file: names the bundle to serve; None where nothing shall be watched.

        Raises:
            BundleError: the bundle is damaged or does not give its model's answers.
        """
        self._go_live(loaded(self.source))
        self.release = WatchedFile(release_file)
        if release_file is not None:
            self.thread.start()

    def stop(self) -> None:
        """End the watching; waits for a load that is under way."""
        self.ended.set()
        if self.thread.ident is not None:
            self.thread.join()

    def _go_live(self, engine: Engine) -> None:
        self.current = engine  # one assignment: a turn of the model has either the old or the new
        self.on_swap(engine)
        log.info("%s version %d is live.", engine.release.name, engine.release.version)

    def _watch(self) -> None:
        while not self.ended.wait(POLL_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("The release could not be looked at.")

    def look(self) -> None:
        """Follow the release file if it has changed since the last look, or names what was refused a while ago."""
        path, due = self.release.path, time.monotonic() >= self.retry_at
        if not (self.release.changed() or due) or path is None or not path.exists():
            return
        bundle: Bundle | None = None
        try:
            bundle = read_release_file(path)
            if not self._is_current(bundle):
                self._go_live(self._load(bundle))
            self._refuse(None)
        except ProjectError as error:
            log.error("The release is refused: %s", error)  # noqa: TRY400 - a person can mend it; no traceback
            self._refuse(_refused(bundle, error.problem))
        except Exception as error:
            log.exception("The release is refused.")
            self._refuse(_refused(bundle, f"It cannot be loaded ({type(error).__name__})."))

    def _is_current(self, bundle: Bundle) -> bool:
        now = self.engine()
        return now.source == _source(bundle) and now.release.model_digest == bundle.model_digest

    def _load(self, bundle: Bundle) -> Engine:
        engine = load_engine(_source(bundle))
        facts, name = engine.release, self.engine().release.name
        if facts.name != name:
            raise BundleError(f"The bundle is of {facts.name}, not of {name}.", "promote a version of this model.")
        if (facts.version, facts.model_digest) != (bundle.version, bundle.model_digest):
            raise BundleError("The bundle is not the one that the release file means.", "promote the version again.")
        return engine

    def _refuse(self, refused: Refused | None) -> None:
        self.refused = refused
        self.retry_at = time.monotonic() + RETRY_SECONDS if refused else inf
        self.on_refusal(refused)


def _source(bundle: Bundle) -> Path:
    return bundle.path.resolve() / "src"


def _refused(bundle: Bundle | None, problem: str) -> Refused:
    if bundle is None:
        return Refused(None, None, "The release file does not name a bundle.")
    # Callers see this: they need not know where our folders are.
    without_path = problem.replace(str(bundle.path), bundle.tag)
    return Refused(bundle.version, bundle.tag, without_folders(without_path))


def without_folders(problem: str) -> str:
    """A sentence that names files without where they are."""
    return FOLDERS.sub("", problem)
