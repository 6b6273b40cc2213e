"""What the head of a sequence network reads, and how fast it learns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from components.models.inference import Predictor
from components.sequences.pooling import settle_pooling
from components.sequences.sequence_network import build_sequence_network, load_sequence_network
from components.training.fine_tuning import train_model
from tests.training_data import small_job

IDS = torch.tensor([[2, 10, 11, 12, 3], [2, 13, 3, 0, 0]])
MASK = (IDS > 0).long()
AUTO = {"pooling": "auto"}


@pytest.fixture(scope="module")
def sentence_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as sentence-transformers would have written it."""
    folder = tmp_path_factory.mktemp("sentences") / "base"
    shutil.copytree(tiny_base, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def test_the_base_model_says_what_is_pooled_and_the_run_file_overrules_it(tiny_base: Path, sentence_base: Path):
    assert settle_pooling(AUTO, tiny_base) == {"pooling": "cls"}
    assert settle_pooling(AUTO, sentence_base) == {"pooling": "mean"}
    assert settle_pooling({"pooling": "cls", "low": 1}, sentence_base) == {"pooling": "cls", "low": 1}


def test_the_mean_leaves_out_the_padding(tiny_base: Path):
    network = build_sequence_network(tiny_base, ["a", "b"], "single_label_classification", "mean").eval()
    hidden = network.base_model(input_ids=IDS, attention_mask=MASK).last_hidden_state
    expected = network.classifier(torch.stack([hidden[0].mean(dim=0), hidden[1, :3].mean(dim=0)]))
    assert_close(network(input_ids=IDS, attention_mask=MASK).logits, expected)
    assert_close(network(input_ids=IDS[:1]).logits, expected[:1])


def test_a_network_with_the_mean_is_read_back_as_one(tiny_base: Path, tmp_path: Path):
    network = build_sequence_network(tiny_base, ["a", "b"], "single_label_classification", "mean").eval()
    network.save_pretrained(tmp_path)
    again = load_sequence_network(tmp_path).eval()
    assert_close(again(input_ids=IDS, attention_mask=MASK).logits, network(input_ids=IDS, attention_mask=MASK).logits)
    assert not any("pooler" in name for name, _ in again.named_parameters())
    assert settle_pooling(AUTO, tmp_path) == {"pooling": "mean"}  # what is trained on from it pools as it does


def test_a_trained_model_pools_as_its_base_does(sentence_base: Path, tmp_path: Path):
    job = small_job(tmp_path / "job", sentence_base)
    model = train_model(*job, tmp_path / "trained")
    predictor = Predictor.load(model.folder)
    assert predictor.spec.settings["pooling"] == "mean"
    assert model.validation_metrics["accuracy"] > 0.8


def test_the_head_can_learn_faster(tiny_base: Path, tmp_path: Path):
    config, *rest = small_job(tmp_path / "job", tiny_base)

    def trained(rate: float | None, name: str):
        section = {"epochs": 1.0, "learning_rate": 1e-6, "head_learning_rate": rate}
        training = config.training.model_copy(update=section)
        return train_model(config.model_copy(update={"training": training}), *rest, tmp_path / name)

    def head(model) -> torch.Tensor:
        return load_sequence_network(model.folder).classifier.weight

    slow, fast = head(trained(None, "slow")), head(trained(0.05, "fast"))
    assert (fast - slow).abs().mean() > 0.01
