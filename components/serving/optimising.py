"""The engine that a version is served with: built, measured on the frozen rows, taken only if the model stays as good.

A model directory and rows in, an `OptimisedModel` out. Engines are tried from the fastest for this processor to the
most exact, and the first that keeps the run file's limit is taken; torch itself always does.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import RunConfig
from components.digests import canonical
from components.errors import ProjectError
from components.models.engine_building import CALIBRATION_ROWS, build_engine
from components.models.engines import find_engine, read_facts, write_facts
from components.models.golden import distance, shown
from components.models.inference import Predictor, open_predictor
from components.models.model_directory import GoldenRow, read_golden, write_golden
from components.monitoring.reference import FOLDER as REFERENCE
from components.monitoring.reference import Said, write_reference
from components.records import CALIBRATION, EngineTrial, EvaluationReport, OptimisedModel, ValidatedDataset, as_json
from components.training.devices import cpu_flags, usable_threads

ENGINE = "engine"
TRIALS = "engines.json"
MOST_EXACT_LAST = ("openvino-int8", "openvino-bf16", "openvino", "torch")
LATENCY_REPEATS = 30


@dataclass(frozen=True, slots=True)
class _Place:
    """What every trial needs: the trained network and the rows that decide."""

    model: Path
    trained: Predictor
    learned_rows: Sequence[Mapping[str, Any]]
    frozen_rows: Sequence[Mapping[str, Any]]
    report: EvaluationReport
    limit: float


def optimise_model(
    config: RunConfig, model: Path, report: EvaluationReport, dataset: ValidatedDataset, folder: Path
) -> OptimisedModel:
    """The engine for a model directory, in `folder/engine`, with every engine that was tried.

    Args:
        config: `serving.engine` and `serving.max_accuracy_loss`.
        model: the model directory.
        report: its scores on the frozen rows, by torch.
        dataset: training rows calibrate, frozen rows decide.
        folder: where the engine and `engines.json` go.
    """
    names = engines_to_try(config.serving.engine)
    trained = Predictor.load(model)
    limit = config.serving.max_accuracy_loss
    place = _Place(model, trained, _rows(dataset, "train", CALIBRATION_ROWS), _rows(dataset, "test"), report, limit)
    trials: list[EngineTrial] = []
    for name in names:
        built = folder / f"trial-{name}"
        trials.append(_try(place, name, built))
        if trials[-1].accepted:
            if built.exists():
                built.rename(folder / ENGINE)
            break
        shutil.rmtree(built, ignore_errors=True)
    content = {"metric": report.primary_metric, "limit": limit, "trials": [as_json(trial) for trial in trials]}
    (folder / TRIALS).write_text(canonical(content), encoding="utf-8")
    return OptimisedModel(folder, trials[-1].engine, report.primary_metric, tuple(trials))


def engines_to_try(wanted: str) -> tuple[str, ...]:
    """Names of engines, each with those that are tried where it loses too much.

    `auto` begins with int8, but where the processor multiplies tiles of bfloat16 (AMX) with that: it is as fast there,
    keeps more digits, and a new shape of a batch costs it a quarter. It takes none that needs a GPU or torch where
    another will do: the machine that trains may have what the one that serves has not.
    """
    if wanted == "torch-bf16":
        return (wanted, "torch")
    if wanted != "auto":
        return MOST_EXACT_LAST[MOST_EXACT_LAST.index(wanted) :]
    fast = ("openvino-bf16", "openvino-int8") if "amx_bf16" in cpu_flags() else MOST_EXACT_LAST[:2]
    return tuple(name for name in (*fast, "openvino", "torch") if find_engine(name).is_useful())


def _rows(dataset: ValidatedDataset, split: Any, most: int | None = None) -> list[Mapping[str, Any]]:
    import pandas as pd

    frame = pd.read_parquet(dataset.split_file(split))
    if most is not None and len(frame) > most:
        frame = frame.sample(most, random_state=0)
    if "label" not in frame:
        frame["label"] = ""
    found: list[Mapping[str, Any]] = frame.to_dict("records")
    return found


def _try(place: _Place, name: str, folder: Path) -> EngineTrial:
    """Build an engine and measure it."""
    if name == "torch":
        return _measure(place, name, place.trained, place.model, 0.0)
    try:
        build_engine(name, place.model, place.trained, place.learned_rows, folder)
        predictor = open_predictor(place.model, folder, usable_threads())
        drift = _write_own_golden(place, predictor, folder)
    except ProjectError:
        raise
    except Exception as error:  # a library that cannot convert this architecture is no reason not to serve it
        return EngineTrial(name, False, f"It cannot be built ({type(error).__name__}).", *(0.0,) * 6)
    return _measure(place, name, predictor, folder, drift)


def _measure(place: _Place, name: str, predictor: Predictor, files: Path, drift: float) -> EngineTrial:
    rows, metric = place.frozen_rows, place.report.primary_metric
    began = time.perf_counter()
    scores = place.report.metrics
    if name != "torch":
        windows = predictor.encode(rows)
        answers = predictor.conclude(rows, windows, predictor.outputs_of(windows.features))
        scores = predictor.task_type.metrics([row["label"] for row in rows], answers, predictor.spec)
    else:
        predictor.predict(rows[:LATENCY_REPEATS])
    seconds = time.perf_counter() - began
    loss = place.report.metrics[metric] - scores[metric]
    accepted, reason = _judge(place, name, loss, drift)
    if accepted and name != "torch":  # what the monitor compares with, while the answers are at hand
        write_reference(predictor, place.model, name, Said(rows, windows, answers), files.parent / REFERENCE)
    count = len(rows) if name != "torch" else len(rows[:LATENCY_REPEATS])
    size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file()) / 1e6
    return EngineTrial(
        engine=name,
        accepted=accepted,
        reason=reason,
        megabytes=round(size, 1),
        milliseconds=round(_latency(predictor, place.frozen_rows), 3),
        rows_per_second=round(count / seconds, 1),
        score=scores[metric],
        loss=loss,
        largest_difference=drift,
        calibration_error=scores.get(CALIBRATION),
    )


def _judge(place: _Place, name: str, loss: float, drift: float) -> tuple[bool, str]:
    if name == "torch":
        return True, "The network as it was trained."
    metric, allowed = place.report.primary_metric, find_engine(name).drift
    if loss > place.limit + 1e-12:
        return False, f"It loses {loss:.4f} of {metric}; serving.max_accuracy_loss allows {place.limit:g}."
    if not drift <= allowed:
        return False, f"A clear golden answer is {drift:.3g} from the trainer's; this engine may be {allowed:g} away."
    return True, f"It loses {max(loss, 0.0):.4f} of {metric}, at most {place.limit:g} is allowed."


def _latency(predictor: Predictor, rows: Sequence[Mapping[str, Any]]) -> float:
    """Median milliseconds of one short text alone."""
    row = min(rows, key=lambda row: sum(len(row.get(name, "")) for name in predictor.task_type.texts))
    times = []
    for _ in range(LATENCY_REPEATS):
        began = time.perf_counter()
        predictor.predict([row])
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _write_own_golden(place: _Place, predictor: Predictor, folder: Path) -> float:
    """Give the engine golden rows with its own answers; returns how far the clear ones are from the trainer's.

    A decision that hangs on less than the engine's rounding may come out either way: such rows prove nothing.
    """
    facts = read_facts(folder)
    engine = find_engine(facts.engine)
    rows = read_golden(place.model)
    inputs = [row.row for row in rows]
    trained, answers = place.trained.predict(inputs), predictor.predict(inputs)
    margin = predictor.task_type.margin
    full = shown(predictor, answers)
    drifts = [
        distance(row.answer, own)
        for row, own, by_torch in zip(rows, full, trained, strict=True)
        if margin(by_torch) > engine.drift
    ]
    order = sorted(range(len(rows)), key=lambda index: -margin(answers[index]))
    clear = [index for index in order if margin(answers[index]) > 2 * engine.tolerance] or order[:1]
    write_golden(folder, [GoldenRow(row=inputs[index], answer=full[index]) for index in sorted(clear)])
    write_facts(folder, facts)
    return max(drifts, default=0.0)
