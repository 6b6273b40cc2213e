from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from components.digests import digest_file
from components.errors import ProjectError, StorageError, TrainingError
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import read_golden, read_manifest, verify_model
from components.records import TrainedModel
from components.task_types import find_task_type
from components.training import devices, training_flow
from components.training.fine_tuning import train_model
from components.training.training_history import History, Progress
from tests.training_data import rows_of, small_job


@pytest.fixture(scope="module")
def job(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory):
    """Arguments of `train_model` that others may change one by one."""
    return small_job(tmp_path_factory.mktemp("job"), tiny_base)


@pytest.fixture(scope="module")
def trained(job, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train_model(*job, tmp_path_factory.mktemp("trained"))


def changed(job: Any, **training: Any) -> Any:
    config, *rest = job
    section = config.training.model_copy(update=training)
    return config.model_copy(update={"training": section}), *rest


class Interrupted(Exception):
    """What a test raises in the middle of a training."""


def interrupt_after(step: int):
    def listen(now: Progress):
        if now.step >= step:
            raise Interrupted

    return listen


def history_of(model: TrainedModel) -> list[dict[str, Any]]:
    return [json.loads(line) for line in model.history.read_text().splitlines()]


def without_times(history: list[dict[str, Any]]) -> list[Any]:
    def timeless(metrics: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if name != "samples_per_second"}

    return [(line["step"], line["epoch"], timeless(line["metrics"])) for line in history]


def test_the_model_learns_and_says_so(trained: TrainedModel):
    rows = rows_of(30, 3)
    answers = Predictor.load(trained.folder).predict(rows)
    assert (
        np.mean([answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)]) > 0.5
    )  # chance: a third
    assert trained.validation_metrics["accuracy"] > 0.5
    assert trained.best_epoch > 0
    assert trained.samples_per_second > 0


def test_the_directory_is_whole_and_holds_no_pickle(trained: TrainedModel):
    manifest = verify_model(trained.folder)
    assert set(manifest.files) == {
        "config.json",
        "golden.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not (trained.folder.parent / "checkpoints").exists()
    assert manifest.fitted["temperature"] > 0
    assert manifest.validation_metrics == trained.validation_metrics


def test_golden_rows_are_of_every_length_and_answered_the_same_by_the_stored_model(trained: TrainedModel):
    golden = read_golden(trained.folder)
    lengths = [len(row.row["text"]) for row in golden]
    assert len(golden) == 24
    assert max(lengths) > 3 * min(lengths)
    assert all(set(row.row) == {"text"} for row in golden)
    assert check_model(Predictor.load(trained.folder), trained.folder) <= TOLERANCE


def test_the_history_has_a_line_for_each_logged_step(trained: TrainedModel):
    lines = history_of(trained)
    training = [line for line in lines if "train_loss" in line["metrics"]]
    assert [line["step"] for line in training] == list(range(1, 25))
    assert set(training[0]["metrics"]) == {"train_loss", "learning_rate", "grad_norm", "samples_per_second"}
    validation = [line for line in lines if "validation_accuracy" in line["metrics"]]
    assert [line["epoch"] for line in validation] == [1, 2]
    assert "validation_loss" in validation[0]["metrics"]


def test_the_same_inputs_give_the_same_model(job, trained: TrainedModel, tmp_path: Path):
    assert train_model(*job, tmp_path).digest == trained.digest


@pytest.mark.parametrize("step", [12, 17])
def test_an_interrupted_training_ends_with_the_same_weights(
    job, trained: TrainedModel, tmp_path: Path, monkeypatch, step: int
):
    monkeypatch.setattr(training_flow, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train_model(*job, tmp_path, interrupt_after(step))
    assert list((tmp_path / "checkpoints").glob("*"))
    resumed = train_model(*job, tmp_path)
    assert resumed.digest == trained.digest
    assert without_times(history_of(resumed)) == without_times(history_of(trained))


def test_a_torn_checkpoint_does_not_stop_the_resumption(job, trained: TrainedModel, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(training_flow, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train_model(*job, tmp_path, interrupt_after(9))
    last = max((tmp_path / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    (last / "optimizer.pt").write_bytes(b"torn")
    assert train_model(*job, tmp_path).digest == trained.digest


def test_accumulated_steps_go_on_as_they_were(job, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(training_flow, "CHECKPOINT_SECONDS", 0.0)
    accumulating = changed(job, batch_size=4, accumulation_steps=3, epochs=1.5)
    whole = train_model(*accumulating, tmp_path / "a")
    with pytest.raises(Interrupted):
        train_model(*accumulating, tmp_path / "b", interrupt_after(5))
    assert train_model(*accumulating, tmp_path / "b").digest == whole.digest
    assert history_of(whole)[-1]["step"] == 12


def test_training_stops_when_the_score_gets_no_better(job, tmp_path: Path):
    stuck = changed(job, epochs=20, learning_rate=1e-9, early_stopping_patience=2)
    model = train_model(*stuck, tmp_path)
    assert history_of(model)[-1]["epoch"] == 3
    assert model.best_epoch == 1


def test_a_resumed_training_that_had_stopped_trains_no_further(job, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(training_flow, "CHECKPOINT_SECONDS", 0.0)
    stuck = changed(job, epochs=20, learning_rate=1e-9, early_stopping_patience=1)
    whole = train_model(*stuck, tmp_path / "a")
    monkeypatch.setattr("components.training.fine_tuning._write_model", interrupt)
    with pytest.raises(Interrupted):
        train_model(*stuck, tmp_path / "b")
    monkeypatch.undo()
    assert train_model(*stuck, tmp_path / "b").digest == whole.digest


def interrupt(*_: Any):
    raise Interrupted


@pytest.mark.parametrize(
    "options",
    [
        {"freeze": "encoder"},
        {"freeze": "embeddings", "class_weights": "balanced"},
        {"gradient_checkpointing": True, "label_smoothing": 0.1},
        {"precision": "bf16"},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_setting_trains(job, tmp_path: Path, monkeypatch, options):
    monkeypatch.setattr("components.training.devices.cpu_flags", lambda: {"avx512_bf16"})
    model = train_model(*changed(job, epochs=1, **options), tmp_path)
    assert verify_model(model.folder)
    assert model.precision == options.get("precision", "fp32")


def failing(monkeypatch, error: BaseException):
    def loss(*_: Any):
        raise error

    monkeypatch.setattr(type(find_task_type("text_classification")), "loss", loss)


def message(job, folder: Path) -> ProjectError:
    with pytest.raises(ProjectError) as caught:
        train_model(*job, folder)
    return caught.value


def test_a_loss_that_is_not_a_number_names_the_learning_rate(job, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        type(find_task_type("text_classification")),
        "loss",
        lambda self, _network, outputs, *_: outputs.sum() * float("nan"),
    )
    error = message(job, tmp_path)
    assert isinstance(error, TrainingError)
    assert "nan at step 1 of 24" in error.problem
    assert "training.learning_rate, now 0.01" in error.hint


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_a_lack_of_memory_names_rows_and_tokens(job, tmp_path: Path, monkeypatch, error):
    failing(monkeypatch, error)
    found = message(job, tmp_path)
    assert isinstance(found, TrainingError)
    assert "8 rows of up to 64 tokens" in found.problem
    assert "halve training.batch_size" in found.hint


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0"),
    ],
    ids=["system", "torch"],
)
def test_a_full_disk_is_a_storage_error(job, tmp_path: Path, monkeypatch, error):
    def add(*_: Any):
        raise error

    monkeypatch.setattr(History, "add", add)
    assert isinstance(message(job, tmp_path), StorageError)


def test_another_error_is_a_bug_and_passes(job, tmp_path: Path, monkeypatch):
    failing(monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        train_model(*job, tmp_path)


def test_nothing_is_printed(job, tmp_path: Path, capfd):
    train_model(*changed(job, epochs=0.2), tmp_path)
    assert capfd.readouterr().out == ""


def test_the_manifest_names_where_everything_came_from(job, trained: TrainedModel):
    config, tokens, base, dataset = job
    manifest = read_manifest(trained.folder)
    assert manifest.base_model_digest == base.digest
    assert manifest.data_digest == dataset.digest
    assert manifest.train_rows == tokens.rows["train"] == 96
    assert manifest.labels == dataset.labels
    assert digest_file(trained.folder / "manifest.json") == trained.digest
    assert manifest.max_length == config.model.max_length


def test_every_batch_is_computed_in_the_precision_that_was_chosen(job, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(devices, "cpu_flags", lambda: {"avx512_bf16"})  # slow without, but possible
    seen = set()

    def watched(self, *args: Any, **inputs: Any):
        seen.add((self.training, torch.is_autocast_enabled("cpu")))
        return forward(self, *args, **inputs)

    forward = BertModel.forward
    monkeypatch.setattr(BertModel, "forward", watched)
    model = train_model(*changed(job, precision="bf16", epochs=2), tmp_path / "bf16")
    assert model.precision == "bf16"
    assert (True, True) in seen
    assert (True, False) not in seen
