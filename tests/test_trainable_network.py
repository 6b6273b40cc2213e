from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.task_types import Spec, find_task_type
from components.training.fast_dropout import DropoutMasks, FastDropout, use_fast_dropout
from components.training.trainable_network import freeze
from components.training.trimmed_embedding import TrimmedEmbedding, restore_embeddings, trim_embeddings


def network_of(base: Path):
    torch.manual_seed(0)
    return find_task_type("text_classification").build_network(base, Spec(("a", "b"), 64, 16))


def steps(network, ids: list[torch.Tensor], decay: float = 0.1):
    """A few steps of AdamW without dropout."""
    network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=decay)
    for step, batch in enumerate(ids):
        network.zero_grad()
        network(batch).logits[:, step % 2].sum().backward()
        optimizer.step()


def test_trimmed_embeddings_learn_what_whole_ones_learn(tiny_base: Path):
    ids = [torch.tensor([[2, 40 + step, 50, 3, 0]]) for step in range(6)]
    whole, trimmed = network_of(tiny_base), network_of(tiny_base)
    before = whole.get_input_embeddings().weight.detach().clone()
    trim_embeddings(trimmed, [np.concatenate([batch.numpy().ravel() for batch in ids])], always=[0, 1, 4])
    assert trimmed.get_input_embeddings().weight.shape[0] == 12 + 1
    steps(whole, ids)
    steps(trimmed, ids)
    restore_embeddings(trimmed)
    expected, found = whole.state_dict(), trimmed.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert (before[200] != expected["bert.embeddings.word_embeddings.weight"][200]).any()  # decay is really there


def test_frozen_embeddings_come_back_unchanged(tiny_base: Path):
    network = network_of(tiny_base)
    before = network.get_input_embeddings().weight.detach().clone()
    freeze(network, "embeddings")
    trim_embeddings(network, [np.array([5, 6])], always=[0])
    restore_embeddings(network)
    assert torch.equal(network.get_input_embeddings().weight, before)


def test_embeddings_that_are_the_output_layer_as_well_stay_whole(tiny_base: Path):
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(tiny_base)
    assert not trim_embeddings(network, [np.array([5])], always=[0])
    assert not isinstance(network.get_input_embeddings(), TrimmedEmbedding)


def test_a_mask_drops_its_share_and_keeps_the_mean():
    masks = DropoutMasks(seed=1)
    masks.start(0)
    dropped = masks.drop(torch.ones(1000, 1001), 0.1)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=1e-3)
    assert dropped.mean().item() == pytest.approx(1.0, abs=1e-3)


def test_masks_depend_on_the_seed_the_step_and_the_part_alone():
    def mask(seed: int, *starts: int) -> list[float]:
        masks = DropoutMasks(seed)
        for step in starts:
            masks.start(step)
        return masks.drop(torch.ones(64), 0.5).tolist()

    assert mask(1, 4, 5) == mask(1, 5)
    assert len({tuple(drawn) for drawn in (mask(1, 5), mask(2, 5), mask(1, 6), mask(1, 5, 5))}) == 4


def test_gradients_go_only_through_what_was_kept():
    masks = DropoutMasks(seed=1)
    masks.start(0)
    values = torch.ones(100, requires_grad=True)
    dropped = masks.drop(values, 0.25)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


def test_fast_dropout_reaches_every_dropout_and_does_nothing_in_evaluation(tiny_base: Path):
    network, plain = network_of(tiny_base), network_of(tiny_base).eval()
    masks = use_fast_dropout(network, seed=3)
    inputs = {"input_ids": torch.tensor([[2, 50, 60, 3], [2, 50, 3, 0]])}
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    assert not any(type(module) is torch.nn.Dropout for module in network.modules())
    torch.testing.assert_close(network.eval()(**inputs).logits, plain(**inputs).logits)
    network.train()
    masks.start(0)
    first = network(**inputs).logits
    assert not torch.equal(first, network(**inputs).logits)
    masks.start(0)
    masks.part, masks.step = 0, -1
    masks.start(0)
    assert torch.equal(first, network(**inputs).logits)


def test_attention_with_fast_dropout_is_attention_when_nothing_is_dropped(tiny_base: Path):
    network, plain = network_of(tiny_base), network_of(tiny_base).eval()
    use_fast_dropout(network, seed=3).start(0)
    for module in network.modules():
        if isinstance(module, FastDropout):
            module.p = 1e-9  # rounds to none dropped, but takes the training's way
    ids = torch.tensor([[2, 50, 60, 3], [2, 50, 3, 0]])
    mask = (ids != 0).long()
    torch.testing.assert_close(network.train()(ids, mask).logits, plain(ids, mask).logits)
    torch.testing.assert_close(network(ids).logits, plain(ids, torch.ones_like(ids)).logits)


@pytest.mark.parametrize(("part", "learning"), [("none", True), ("embeddings", True), ("encoder", False)])
def test_frozen_parts_do_not_learn(tiny_base: Path, part: str, learning: bool):
    network = network_of(tiny_base)
    freeze(network, part)
    assert network.bert.encoder.layer[0].output.dense.weight.requires_grad is learning
    assert network.bert.embeddings.word_embeddings.weight.requires_grad is (part == "none")
    assert network.bert.pooler.dense.weight.requires_grad
    assert network.classifier.weight.requires_grad


def test_balanced_weights_are_the_inverse_frequencies_with_a_mean_of_one():
    targets = np.array([0, 0, 0, 1], np.int64)
    weights = find_task_type("text_classification").weights(targets, Spec(("a", "b"), 64, 16))
    assert weights.tolist() == pytest.approx([2 / 3, 2.0])
    assert weights[targets].mean().item() == pytest.approx(1.0)
