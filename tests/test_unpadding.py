"""Training without the padding learns what training with it learns."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from components.training.fast_dropout import use_fast_dropout
from components.training.unpadding import Layout

SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONFIGS = {
    "bert": BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "roberta": RobertaConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, dropout=0.0, attention_dropout=0.0
    ),
    # Its layers are repeated groups: it trains with its padding.
    "albert": AlbertConfig(**SMALL, embedding_size=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
}
LENGTHS = (3, 9, 1, 6)


def batch() -> dict[str, torch.Tensor]:
    mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    ids = torch.randint(5, 60, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": torch.where(mask == 1, ids, 0), "attention_mask": mask}


def learned(name: str, unpadded: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and gradients of a batch of texts of several lengths."""
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(deepcopy(CONFIGS[name])).train()
    for module in network.modules():
        if type(module) is torch.nn.Dropout:
            module.p = 0.0
    if unpadded:
        use_fast_dropout(network, seed=1).start(0)
    logits = network(**batch()).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0])).backward()
    return logits, {key: value.grad for key, value in network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_gradients_are_those_of_the_padded_batch(name: str):
    expected, padded_gradients = learned(name, unpadded=False)
    found, gradients = learned(name, unpadded=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == padded_gradients.keys()
    for key, value in padded_gradients.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize(
    ("name", "skips"), [("bert", True), ("roberta", True), ("distilbert", True), ("albert", False)]
)
def test_the_layers_see_no_padding(name: str, skips: bool):
    network = AutoModelForSequenceClassification.from_config(deepcopy(CONFIGS[name])).train()
    use_fast_dropout(network, seed=1).start(0)
    seen = set()
    linear = max((m for m in network.base_model.modules() if type(m) is torch.nn.Linear), key=lambda m: m.out_features)
    linear.register_forward_hook(lambda _module, inputs, _output: seen.add(inputs[0].shape[:-1].numel()))
    network(**batch())
    assert seen == {sum(LENGTHS) if skips else len(LENGTHS) * max(LENGTHS)}


def test_a_line_of_tokens_is_padded_and_back():
    mask = batch()["attention_mask"]
    added = torch.where(mask == 1, 0.0, torch.finfo(torch.float32).min)[:, None, None, :].expand(-1, 1, 9, -1)
    layout = Layout.of(added)
    line = torch.randn(sum(LENGTHS), 5)
    padded = layout.pad(line)
    assert padded.shape == (4, 9, 5)
    assert (padded[mask == 0] == 0).all()
    assert torch.equal(layout.line_up(padded), line)
    assert torch.equal(padded[mask == 1], line)
