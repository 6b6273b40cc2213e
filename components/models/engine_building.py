"""A built engine from a model directory: what torch computes, written down for another library."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from components.models.engines import EngineFacts, Source, find_engine, write_facts
from components.models.engines.torch_engine import TorchRun
from components.models.fast_tokenizer import save_tokenizer
from components.models.inference import Predictor
from components.models.model_directory import GOLDEN, model_digest
from components.task_types import Arrays, Row

CALIBRATION_ROWS = 128
CALIBRATION_BATCH = 2  # windows of unlike lengths, so that padding is part of what is traced


def build_engine(name: str, model: Path, trained: Predictor, rows: Sequence[Row], folder: Path) -> None:
    """Write the engine of that name for a model directory into `folder`, which is made, with the trainer's golden rows.

    Args:
        trained: the model directory, loaded by torch.
        rows: training rows; the first `CALIBRATION_ROWS` are read.
    """
    if not isinstance(trained.run, TorchRun):
        raise TypeError("an engine is built from a network of torch")
    folder.mkdir(parents=True)
    engine = find_engine(name)
    batches = _batches(trained, rows[: CALIBRATION_ROWS if engine.quantised else CALIBRATION_BATCH])
    with quiet():
        engine.build(Source(trained.run.network, trained.task_type, batches), folder)
    shutil.copyfile(model / GOLDEN, folder / GOLDEN)
    tokenizer = save_tokenizer(trained.tokenizer, folder)
    write_facts(folder, EngineFacts(engine=name, model_digest=model_digest(model), tokenizer=tokenizer))


def _batches(trained: Predictor, rows: Sequence[Row]) -> list[Arrays]:
    """What the network is given for rows, as it is given it."""
    given: list[Arrays] = []

    def record(inputs: Arrays) -> Any:
        given.append(inputs)
        return trained.run(inputs)

    features = trained.encode(rows).features
    for start in range(0, len(features), CALIBRATION_BATCH):
        trained.task_type.ask(record, trained.pad(features[start : start + CALIBRATION_BATCH]), trained.tokenizer)
    return given


@contextmanager
def quiet() -> Iterator[None]:
    """Without the tracer's warnings about branches, which are the same for every input here, and without bars."""
    levels = {name: logging.getLogger(name).level for name in ("nncf", "openvino")}
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
