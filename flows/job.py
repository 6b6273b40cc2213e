"""One run of one model: its settings, its inputs and the champion that it has to beat, looked up once at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from components.behaviour.templates import read_cases
from components.config import RunConfig
from components.data.data_files import find_data
from components.data.feedback import with_feedback
from components.models.base_models import require_positions, resolve_base_model
from components.models.model_directory import read_manifest
from components.planning import Plan, plan_run
from components.processes.compute_process import ComputeProcess
from components.records import BaseModel, RegisteredVersion, TrainedModel
from components.settings import Settings
from components.step_parts import Champion, Inputs, behaviour_files
from components.step_store import Record, Step, StepStore
from components.training.devices import choose_device
from flows.progress import RunLog


@dataclass(frozen=True)
class Job:
    """Everything that the steps of a run share; none of it changes while the run is at work.

    `process` does what needs torch, and is there from the first such step on; whoever opens a job ends it.
    """

    inputs: Inputs
    settings: Settings
    log: RunLog
    process: ComputeProcess

    @property
    def config(self) -> RunConfig:
        return self.inputs.config

    @property
    def base(self) -> BaseModel:
        return self.inputs.base

    @property
    def champion(self) -> Champion | None:
        return self.inputs.champion

    @property
    def store(self) -> StepStore:
        return StepStore(self.settings.steps)

    def plan(self) -> Plan:
        """What the run would do."""
        return plan_run(self.inputs, self.store)

    def settled(self, model: TrainedModel) -> str | None:
        """Why nothing is to be decided about a model: it is live already, or a person took it back."""
        if self.champion and self.champion.digest == model.digest:
            return f"The model that was made is champion version {self.champion.version}, to the bit."
        reason = self.inputs.rolled_back.get(model.digest)
        return f"The model that was made was rolled back: {reason}" if reason else None

    def perform(
        self,
        step: Step,
        record_type: type[Record],
        work: Callable[[Path], Record],
        describe: Callable[[Record], str],
        *,
        found: Record | None = None,
        title: str | None = None,
        resumable: bool = False,
    ) -> Record:
        """The record of a step: found if it was done before, else made by `work`.

        Args:
            describe: the record in a few words, for the log.
            found: a finished step of another digest that serves as well.
            title: what the log calls the step.
            resumable: see `StepStore.run`.
        """
        with self.log.step(title or step.name) as note:
            record = found or self.store.find(step, record_type)
            note.reused = record is not None
            if record is None:
                record = self.store.run(step, work, resumable=resumable)
            note.detail = describe(record)
        return record


def open_job(config: RunConfig, settings: Settings, log: RunLog, process: ComputeProcess | None = None) -> Job:
    """Look up what a run file names.

    Args:
        process: one that was started ahead.

    Raises:
        ProjectError: something that the run file names is not there.
    """
    from components import registry  # mlflow: a second to import, and a bad run file must answer at once

    base = find_base_model(settings, config.model.base, config.folder, config.model.sha256)
    require_positions(base, config.model.max_length)
    read_cases(behaviour_files(config))  # a mistake in a file of checks must not wait until a model is trained
    choice = choose_device(config.training)
    inputs = Inputs(
        config=config,
        files=with_feedback(config, find_data(config), settings),
        base=base,
        champion=find_champion(settings, config.name),
        rolled_back=registry.rolled_back(settings, config.name),
        hardware=f"{choice.device} {choice.precision}",
        best=find_best(settings, config.name, config.evaluation.metric),
        waiting=registry.waiting_models(settings, config.name),
    )
    return Job(inputs, settings, log, process or ComputeProcess(config.training, settings))


def find_base_model(settings: Settings, spec: str, folder: Path, sha256: str | None) -> BaseModel:
    """The base model that a run file names; `models:/NAME@ALIAS` means the version that has the alias now.

    Raises:
        ProjectError: it is not there, damaged, or of the wrong kind.
    """
    if not spec.startswith("models:"):
        return resolve_base_model(spec, folder, sha256)
    from components import registry

    version = registry.find_by_address(settings, spec)
    found = resolve_base_model(str(registry.fetch_model(settings, version)), folder, sha256)
    return replace(found, spec=f"models:/{version.name}/{version.version}")


def find_champion(settings: Settings, name: str) -> Champion | None:
    """The model that is live, with its directory fetched from the registry and verified."""
    from components import registry

    registry.settle(settings, name)
    live = registry.champion(settings, name)
    return _fetched(settings, live) if live else None


def find_best(settings: Settings, name: str, metric: str) -> Champion | None:
    """The best model ever accepted by its score in the ledger, where that is not the champion."""
    from components import registry

    best = registry.best_accepted(settings, name, metric)
    return _fetched(settings, best) if best else None


def _fetched(settings: Settings, version: RegisteredVersion) -> Champion:
    from components import registry

    folder = registry.fetch_model(settings, version)
    return Champion(version.version, version.run_id, version.digest, read_manifest(folder).labels, folder)
