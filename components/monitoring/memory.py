"""What the monitor remembers of a model between two looks: how far it has judged, what is going on, what was told.

`<home>/monitor/MODEL/state.json`, and beside it the first and the last good window of the version that is live. An
alarm about a measure is one event from the window that raises it until `CALM` windows in a row are without it: it is
told and acted upon once, and once more where the run that was asked for found nothing new to learn from. A new version
begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from components.digests import canonical
from components.monitoring.accuracy import Evidence, Start
from components.monitoring.comparison import Finding
from components.records import as_json
from components.step_store import storage_errors, write_whole

Verdict = Literal["ok", "watch", "alarm", "retrain"]
CALM = 3  # windows without an alarm about a measure, after which a new one is another event
STATE, LAST_GOOD, FIRST_GOOD = "state.json", "last_good", "first_good"


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm that goes on: since when, for how many windows it has been calm, and whether somebody was told.

    `asked` is when a run was asked for because of it, empty where none was; `vain` says that one had nothing to do.
    """

    since: str
    calm: int = 0
    told: bool = False
    asked: str = ""
    vain: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one version: `windows` were judged, the last of them ended at `until`."""

    version: int
    until: str = ""
    windows: int = 0
    episodes: Mapping[str, Episode] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)

    def after(self, findings: Sequence[Finding], ended: str, *, whole: bool = True) -> Memory:
        """What is remembered once a window was judged.

        Args:
            ended: time of the last request of the window.
            whole: whether it had enough requests; with too few, an alarm can come of the feedback alone.
        """
        alarmed = {finding.measure for finding in findings if finding.severity == "alarm"}
        calm = int(whole)
        others = {n: replace(each, calm=each.calm + calm) for n, each in self.episodes.items() if n not in alarmed}
        going_on = {name: each for name, each in others.items() if each.calm < CALM}
        for name in sorted(alarmed):
            known = self.episodes.get(name)
            going_on[name] = replace(known, calm=0) if known else Episode(since=ended or self.until)
        if not whole:
            return replace(self, episodes=going_on)
        return replace(self, until=ended, windows=self.windows + 1, episodes=going_on)

    def untold(self) -> list[str]:
        """The measures whose alarm goes on and was not told."""
        return [name for name, each in self.episodes.items() if not each.told and not each.calm]

    def told(self, measures: Iterable[str]) -> Memory:
        """The same once somebody knows of these."""
        known = set(measures)
        found = {name: replace(each, told=each.told or name in known) for name, each in self.episodes.items()}
        return replace(self, episodes=found)

    def unasked(self, retrain_on: Iterable[str]) -> list[str]:
        """Of some measures, those whose alarm goes on and for which no run was asked for."""
        wanted = set(retrain_on)
        return [name for name, each in self.episodes.items() if name in wanted and not each.asked and not each.calm]

    def asked(self, measures: Iterable[str], time: str) -> Memory:
        """The same once a run was asked for because of these, at a time (ISO 8601)."""
        known = set(measures)
        found = {n: replace(each, asked=time) if n in known else each for n, each in self.episodes.items()}
        return replace(self, episodes=found)

    def asked_for(self) -> dict[str, str]:
        """The measures whose alarm goes on although a run was asked for, and when it was."""
        return {name: each.asked for name, each in self.episodes.items() if each.asked and not each.calm}

    def reopened(self, measures: Iterable[str]) -> Memory:
        """The same once the run that these had asked for was in vain: they are told, and ask, again."""
        known = set(measures)
        found = {
            name: replace(each, told=False, asked="", vain=True) if name in known else each
            for name, each in self.episodes.items()
        }
        return replace(self, episodes=found)

    def in_vain(self, measures: Iterable[str]) -> list[str]:
        """Of some measures, those for which a run was in vain."""
        return [name for name in measures if self.episodes[name].vain]

    def event(self, measures: Sequence[str]) -> str:
        """What tells these alarms from all others of the model."""
        known = ((name, self.episodes[name]) for name in sorted(measures))
        parts = (f"{name} since {each.since}{', after a run in vain' * each.vain}" for name, each in known)
        return f"version {self.version}: {', '.join(parts)}"


def verdict_of(findings: Sequence[Finding], retrain_on: Sequence[str]) -> Verdict:
    """What a window comes to: the gravest of its findings, and `retrain` where a training may mend one of them."""
    alarmed = [finding.measure for finding in findings if finding.severity == "alarm"]
    if any(measure in retrain_on for measure in alarmed):
        return "retrain"
    if alarmed:
        return "alarm"
    return "watch" if any(finding.severity == "watch" for finding in findings) else "ok"


def recall(folder: Path, version: int) -> Memory:
    """What is remembered of a version; of another one, or of damage, nothing."""
    try:
        content: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        episodes = {name: Episode(**each) for name, each in content.pop("episodes").items()}
        memory = Memory(**{**content, "episodes": episodes, "evidence": _evidence(content["evidence"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Memory(version)
    return memory if memory.version == version else Memory(version)


def _evidence(content: Mapping[str, Any]) -> Evidence:
    return Evidence(**{**content, "starts": tuple(Start(**each) for each in content["starts"])})


def remember(folder: Path, memory: Memory) -> None:
    """Keep what is remembered.

    Raises:
        StorageError: the disk is full.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / STATE, canonical(as_json(memory)))
