"""The training itself: its losses, its resumption, its processes, and what it starts from."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from components.models.base_models import resolve_base_model
from components.models.golden import check_model
from components.models.inference import TOLERANCE, Predictor
from components.models.model_directory import verify_model
from components.pretraining.example_table import ExampleTable
from components.pretraining.network import PretrainingNetwork, losses_of
from components.pretraining.pretrainer import pair_evidence
from components.pretraining.pretraining import PhaseJob, pretrain_phase
from components.pretraining.pretraining_process import pretrain_in_process
from components.pretraining.throughput import flops_per_token, matrix_rate
from components.pretraining_config import PretrainingConfig
from components.processes import compute_process
from components.training import training_flow
from components.training.tokenization import load_tokenizer
from components.training.training_history import Progress
from tests.pretraining_text import SMALL, small_phase, write_text

STILL = {**SMALL, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ONE_PHASE = {"max_length": 32, "epochs": 3, "batch_size": 16, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> PhaseJob:
    """A phase of some forty steps without dropout, whose random numbers several processes would draw otherwise."""
    folder = tmp_path_factory.mktemp("pretraining")
    text = write_text(folder / "text.txt", documents=20, sentences=8)
    return small_phase(folder, text, model={"config": STILL}, phases=[ONE_PHASE])


@pytest.fixture(scope="module")
def alone(job, tmp_path_factory):
    """The phase trained in one process, with its history."""
    model = pretrain_phase(dataclasses.replace(job, folder=tmp_path_factory.mktemp("alone")))
    return model, losses(model.history)


def losses(history: Path) -> dict[tuple[int, str], float]:
    """The curve of each loss by its step."""
    found = {}
    for line in history.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        found |= {(entry["step"], name): value for name, value in entry["metrics"].items() if name.endswith("loss")}
    return found


def changed(job: PhaseJob, folder: Path, **sections) -> PhaseJob:
    """The same phase with other sections of its run file."""
    content = {**job.config.model_dump(mode="json"), **sections}
    return dataclasses.replace(job, config=PretrainingConfig.model_validate(content), folder=folder)


def test_the_losses_are_those_of_transformers():
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(1)
    network = BertForPreTraining(BertConfig(vocab_size=60, **STILL)).eval()
    ids, segments = torch.randint(5, 60, (6, 12)), torch.randint(0, 2, (6, 12))
    labels = torch.where(torch.rand(6, 12) < 0.3, ids, -100)
    pairs = torch.tensor([0, 1, 1, 0, 1, 0])
    theirs = network(input_ids=ids, token_type_ids=segments, labels=labels, next_sentence_label=pairs)
    with torch.no_grad():
        sums = PretrainingNetwork(network, next_sentence=True)(labels, pairs, input_ids=ids, token_type_ids=segments)
    assert float(losses_of(sums, sums[2], sums[5])) == pytest.approx(theirs.loss.item(), rel=1e-5)
    hidden = labels != -100
    right = (theirs.prediction_logits.argmax(-1)[hidden] == labels[hidden]).sum()
    assert sums.tolist()[1:3] == [float(right), float(hidden.sum())]
    assert sums.tolist()[4:] == [float((theirs.seq_relationship_logits.argmax(-1) == pairs).sum()), 6.0]


def test_a_phase_makes_a_model_that_fills_masks_and_holds_both_heads(alone, job):
    from safetensors import safe_open

    model, curve = alone
    verify_model(model.folder)
    with safe_open(model.folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert {"bert.pooler.dense.weight", "cls.seq_relationship.weight", "cls.predictions.bias"} <= names
    predictor = Predictor.load(model.folder, "cpu")
    assert check_model(predictor, model.folder) <= TOLERANCE
    assert predictor.predict([{"text": "the [MASK] was there"}])[0]["masks"]
    first, last = (curve[step, "train_mlm_loss"] for step in (min(curve)[0], max(curve)[0]))
    assert last < first - 0.05  # in some twenty steps
    assert (model.history.parent / "samples.md").read_text(encoding="utf-8").count("\n| ") > 3
    assert set(model.validation_metrics) == {
        "mlm_loss", "mlm_accuracy", "mlm_perplexity", "nsp_loss", "nsp_accuracy",
        "nsp_pairs", "nsp_low", "nsp_high", "nsp_chance",
    }  # fmt: skip


def test_next_sentences_are_held_against_what_one_answer_for_all_comes_to(alone, job):
    found = alone[0].validation_metrics
    table = ExampleTable.of_phase(job.examples, "validation", 1, load_tokenizer(job.base), job.config)
    random = table.places["random"]
    assert found["nsp_pairs"] == len(table)
    assert found["nsp_chance"] == max(random.mean(), 1 - random.mean()) > 0.5
    assert found["nsp_low"] < found["nsp_accuracy"] < found["nsp_high"]


def test_the_interval_of_next_sentences_is_wilsons():
    # Newcombe 1998, table I: 81 of 263 have the interval 0.2553 to 0.3662.
    found = pair_evidence([0, 0, 0, 0, 81, 263], random=200)
    assert (found["nsp_low"], found["nsp_high"]) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert found["nsp_chance"] == 200 / 263
    assert pair_evidence([0, 0, 0, 0, 81, 263], random=63)["nsp_chance"] == 200 / 263
    assert pair_evidence([0, 0, 0, 0, 0, 0], random=0) == {}


def test_a_killed_phase_goes_on_and_ends_with_the_same_weights(alone, job, tmp_path, monkeypatch):
    monkeypatch.setattr(training_flow, "CHECKPOINT_SECONDS", 0.0)
    model, curve = alone

    def stop(now: Progress) -> None:
        if now.step == 10:
            raise KeyboardInterrupt

    again = dataclasses.replace(job, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pretrain_phase(again, stop)
    assert list((tmp_path / "checkpoints").glob("checkpoint-*"))
    heard: list[int] = []
    ended = pretrain_phase(again, lambda now: heard.append(now.step))
    assert heard[0] >= 10
    assert ended.digest == model.digest
    assert losses(ended.history) == curve


def test_parts_of_a_step_give_the_same_curve(alone, job, tmp_path):
    phase = {**ONE_PHASE, "accumulation_steps": 4}
    model = pretrain_phase(changed(job, tmp_path, phases=[phase]))
    assert losses(model.history) == pytest.approx(alone[1], rel=1e-3)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_give_the_curve_of_one(alone, job, tmp_path, monkeypatch):
    script = tmp_path / "child.py"
    script.write_text(
        "import sys; from pathlib import Path; from components.processes import child\n"
        "from components.training import training_flow\n"
        "training_flow.CHECKPOINT_SECONDS = 0.0\n"
        "child.main(Path(sys.argv[1]), Path(sys.argv[2]))\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(compute_process, "CHILD", (sys.executable, str(script)))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    killed: list[int] = []

    def kill_one(now: Progress) -> None:
        if now.step >= 12 and not killed:
            workers = [each for each in psutil.Process().children(recursive=True) if str(script) in each.cmdline()]
            workers = [each for each in workers if "torch.distributed.run" not in each.cmdline()]
            assert len(workers) == 2
            killed.append(workers[1].pid)
            os.kill(workers[1].pid, signal.SIGKILL)

    shared = changed(job, tmp_path / "phase", launch={"processes": 2, "restarts": 1})
    model = pretrain_in_process(shared, on_progress=kill_one)
    assert killed
    assert "going on from step" in (tmp_path / "phase" / "training.log").read_text(encoding="utf-8")
    assert losses(model.history) == pytest.approx(alone[1], rel=1e-3)
    assert model.digest == verify_and_digest(model.folder)


@pytest.mark.slow
def test_two_machines_that_meet_give_the_curve_of_one(alone, job, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launch = {"processes": 1, "nodes": 2, "rendezvous": f"localhost:{port}", "restarts": 0}
    shared = changed(job, tmp_path / "phase", launch=launch)
    other = OtherMachine()
    logging.getLogger("rebert.launch").addHandler(other)
    try:
        model = pretrain_in_process(shared)
        assert [process.wait(60) for process in other.started] == [0]
    finally:
        logging.getLogger("rebert.launch").removeHandler(other)
        other.end()
    assert losses(model.history) == pytest.approx(alone[1], rel=1e-3)


class OtherMachine(logging.Handler):
    """Does what a person does elsewhere: starts the command that the run has told."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[subprocess.Popen[bytes]] = []

    def emit(self, record: logging.LogRecord) -> None:
        command = record.getMessage().rpartition("\n")[2]
        self.started.append(subprocess.Popen(shlex.split(command), stdin=subprocess.DEVNULL))

    def end(self) -> None:
        for process in self.started:
            process.kill()


def test_the_command_for_other_machines_agrees_with_the_launcher_here(tmp_path):
    from components.processes.elastic import Launch, command_elsewhere

    words = shlex.split(command_elsewhere(Launch(2, 3, "first:29400", restarts=5), tmp_path / "job.json", threads=4))
    assert {"--nproc-per-node=2", "--nnodes=3", "--max-restarts=5", "--rdzv-endpoint=first:29400"} <= set(words)
    assert {"OMP_NUM_THREADS=4", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"} <= set(words)
    assert words[-3:] == ["components.processes.child", "none", str(tmp_path / "job.json")]


def verify_and_digest(folder: Path) -> str:
    from components.models.model_directory import model_digest

    verify_model(folder)
    return model_digest(folder)


def test_the_second_phase_begins_with_the_weights_and_the_steps_of_the_first(job, alone, tmp_path):
    phases = [ONE_PHASE, {**ONE_PHASE, "epochs": 0.1, "learning_rate": 1e-9}]
    two = changed(job, tmp_path, phases=phases)
    examples = dataclasses.replace(
        job.examples, sequences={**job.examples.sequences, "train/phase-2": job.examples.sequences["train/phase-1"]}
    )
    for split in ("train", "validation"):
        place = job.examples.folder / split
        if not (place / "phase-2.arrow").exists():
            (place / "phase-2.arrow").symlink_to(place / "phase-1.arrow")
    model = pretrain_phase(dataclasses.replace(two, number=2, start=alone[0].folder, examples=examples))
    assert model.validation_metrics["mlm_loss"] == pytest.approx(alone[0].validation_metrics["mlm_loss"], abs=1e-4)
    assert min(losses(model.history))[0] > max(alone[1])[0]


def test_a_base_without_heads_gets_new_ones_and_learns_words_alone(tiny_base, tmp_path):
    text = write_text(tmp_path / "text.txt", documents=20, sentences=6)
    made = small_phase(tmp_path, text, examples={"next_sentence": False})
    base = resolve_base_model(str(tiny_base), tmp_path)
    from components.pretraining.examples import make_examples

    model = {"base": str(tiny_base), "config": {"hidden_dropout_prob": 0.0}}
    training = {"device": "cpu", "precision": "fp32", "gradient_checkpointing": True, "evaluations": 1}
    going_on = changed(made, tmp_path / "phase", model=model, training=training)
    (tmp_path / "again").mkdir()
    examples = make_examples(going_on.config, made.dataset, base, tmp_path / "again")
    trained = pretrain_phase(dataclasses.replace(going_on, base=base, examples=examples))
    assert set(trained.validation_metrics) == {"mlm_loss", "mlm_accuracy", "mlm_perplexity"}
    assert verify_model(trained.folder).base_model == str(tiny_base)


def test_the_arithmetic_of_a_token_is_what_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=500, **SMALL)
    network = BertForMaskedLM(config)
    network.set_attn_implementation("eager")
    ids = torch.randint(0, 500, (4, 64))
    labels = torch.full_like(ids, -100)
    labels[:, :10] = ids[:, :10]
    with FlopCounterMode(display=False) as counter:
        PretrainingNetwork(network, next_sentence=False)(labels, input_ids=ids).sum().backward()
    counted = counter.get_total_flops() / ids.numel()
    # The first layer's inputs need no gradient of the ids: torch does a little less.
    assert flops_per_token(config, 64, 10 / 64) == pytest.approx(counted, rel=0.02)


def test_a_matrix_product_has_a_rate():
    assert matrix_rate("cpu", "fp32") > 1e8
