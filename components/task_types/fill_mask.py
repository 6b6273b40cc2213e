"""The likeliest tokens for each mask of a text, by masked language modelling on plain texts.

Training hides tokens anew in each batch. A base model without a language modelling head, such as an encoder of
sentences, gets a new one: a dense layer and a norm that start at random, and the decoder tied to the embeddings. A text
without a mask is scored: some of its tokens are hidden one by one and guessed (Salazar et al., ACL 2020).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from components.config import Section, Training
from components.masks.mask_drawing import IGNORED
from components.task_types.base import (
    READING,
    Answer,
    Arrays,
    Column,
    Numbers,
    Outputs,
    Row,
    Run,
    Spec,
    Statistic,
    TaskType,
    Windows,
    json_text,
)
from components.task_types.looks import Sought

if TYPE_CHECKING:
    import torch


CHARACTERS_OF_A_TOKEN = 4  # of English, about; for the estimate of a request's cost alone


class FillMaskSettings(Section):
    """The section `task` of fill_mask."""

    scored_tokens: int = Field(
        16, ge=1, le=512, description="Most tokens of a text that are hidden and guessed, one by one, to score a model."
    )
    whole_words: Literal["none", "pieces", "chinese"] = Field(
        "none",
        description="What training hides together: none draws each token by itself, pieces a word with all its pieces, "
        "chinese also the characters of a Chinese word (needs the package rjieba).",
    )

    @field_validator("whole_words")
    @classmethod
    def _words_can_be_found(cls, whole: str) -> str:
        from components.masks.mask_words import SEGMENTER, has_segmenter

        if whole == "chinese" and not has_segmenter():
            raise ValueError(
                f"'chinese' needs the package {SEGMENTER}, which is not installed: pip install {SEGMENTER}"
            )
        return whole


class FillMask(TaskType):
    """Softmax over the vocabulary at each mask, cross-entropy loss on the hidden tokens."""

    name = "fill_mask"
    purpose = "Names the likeliest tokens for each [MASK] of a text; says of a text without masks how usual it is."
    limits = "What is likely in a sentence need not be true, and repeats what the texts it has read say of people."
    hub_task = "fill-mask"
    forms = ((Column("text"),),)
    sought = ((Sought("text", (), content="alone"),),)
    has_labels = False
    settings = FillMaskSettings
    targets_are = "tokens"
    metric_names = ("top1_accuracy", "top5_accuracy")

    def build_network(self, base: Path, spec: Spec) -> Any:
        from components.masks.mask_network import build_mask_network

        return build_mask_network(base)

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.masks.mask_network import load_mask_network

        return load_mask_network(folder)

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.masks.mask_windows import window_masks

        scored_tokens = spec.settings.get("scored_tokens", FillMaskSettings().scored_tokens)
        return window_masks(tokenizer, rows, spec.max_length, spec.window_overlap, scored_tokens)

    def cost(self, rows: Sequence[Row], spec: Spec) -> int:
        """A text without masks is read once for each token that is scored, but only the window around it."""
        from components.masks.mask_windows import has_mask

        window = READING + CHARACTERS_OF_A_TOKEN * spec.max_length
        scored = sum(not has_mask(row["text"]) for row in rows)
        return super().cost(rows, spec) + scored * window * int(spec.settings.get("scored_tokens", 1))

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        """Nothing to learn yet: `prepare` hides tokens."""
        return [[IGNORED] * len(features["input_ids"]) for features in windows.features]

    def prepare(
        self, inputs: dict[str, torch.Tensor], tokenizer: Any, spec: Spec, seed: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """The batch with tokens hidden, and as `truth` the hidden ones' ids."""
        import torch

        from components.masks.mask_drawing import draw_masks
        from components.masks.mask_words import find_segmenter, word_begins

        device, ids = inputs["input_ids"].device, inputs["input_ids"].cpu().numpy()
        begins = None
        if (whole := spec.settings.get("whole_words", "none")) != "none":
            begins = word_begins(ids, tokenizer, find_segmenter() if whole == "chinese" else None)
        hidden, truth = draw_masks(ids, tokenizer, seed, begins=begins)
        targets = torch.from_numpy(truth).to(device)
        prepared = {**inputs, "input_ids": torch.from_numpy(hidden).to(device), "labels": targets, "truth": targets}
        if "attention_mask" in inputs:  # without the marks of what is scored
            prepared["attention_mask"] = (inputs["attention_mask"] > 0).long()
        return prepared

    def forward(self, network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits (tokens, vocabulary) of the hidden tokens: in training those with a truth, else the `places`."""
        from components.masks.mask_guessing import PLACES, logits_at

        read = {name: values for name, values in inputs.items() if name not in ("truth", PLACES)}
        if PLACES in inputs:
            return logits_at(network, read, inputs[PLACES])
        return logits_at(network, read, (inputs["truth"] != IGNORED).flatten().nonzero()[:, 0])

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        if not len(outputs):  # a batch of blank texts
            return outputs.float().sum()
        truths = targets[targets != IGNORED]
        return cross_entropy(outputs.float(), truths, label_smoothing=training.label_smoothing)

    def condense(self, outputs: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How likely the hidden tokens were, without the logits of all others."""
        from components.masks.mask_guessing import likelihoods_in_training

        truth = inputs["truth"]
        return likelihoods_in_training(outputs, truth[truth != IGNORED])

    def split(self, outputs: NDArray[np.float32], inputs: Arrays) -> list[NDArray[np.float32]]:
        return np.split(outputs, (inputs["truth"] != IGNORED).sum(axis=1).cumsum()[:-1].tolist())

    def ask(self, run: Run, inputs: Arrays, tokenizer: Any) -> list[NDArray[np.float32]]:
        from components.masks.mask_guessing import guess

        return guess(run, inputs, tokenizer.mask_token_id)

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """Each row's gaps and the numbers of its windows, one after the other: the order of its tokens."""
        own: list[list[NDArray[np.float32]]] = [[] for _ in rows]
        for row, output in zip(windows.rows, outputs, strict=True):
            own[row] += [output] if len(output) else []
        notes = windows.notes or [None] * len(rows)
        nothing = np.empty((0, 2), np.float32)
        return [(gaps, np.concatenate(found) if found else nothing) for gaps, found in zip(notes, own, strict=True)]

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from components.masks.mask_answers import filled_answer, scored_answer

        return [
            scored_answer(row["text"], found if found.shape[1] == 2 else found[:0, :2])
            if gaps is None
            else filled_answer(gaps, found)
            for row, (gaps, found) in zip(rows, outputs, strict=True)
        ]

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        masks = [
            {
                "position": mask["position"],
                "top": [{"token": item["token"], "score": round(item["score"], 6)} for item in mask["top"][:top_k]],
                "targets": [{"word": item["word"], "score": _rounded(item["score"])} for item in mask["targets"]],
            }
            for mask in answer["masks"]
        ]
        mean = answer["log_likelihood"] / answer["tokens"] if answer["tokens"] else None
        return {"masks": masks, "filled": answer["filled"], "log_likelihood": _rounded(mean)}

    def said(self, answer: Answer) -> str:
        counts = {name: answer[name] for name in ("tokens", "top1", "top5")}
        return json_text({**counts, "log_likelihood": round(answer["log_likelihood"], 4)})

    def confidence(self, answer: Answer) -> float:
        """The mean probability of the tokens: of the best ones in masks, of the true ones in a text without."""
        if answer["masks"]:
            return float(np.mean([mask["top"][0]["score"] for mask in answer["masks"]]))
        return exp(answer["log_likelihood"] / max(answer["tokens"], 1))

    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        """The share of the scored tokens that were guessed."""
        counts = [json.loads(text) for text in said]
        return np.array([row["top1"] / row["tokens"] if row["tokens"] else 1.0 for row in counts], np.float64)

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        from components.masks.mask_answers import sums_of

        return sums_of(answers)

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        from components.masks.mask_answers import share_statistic

        counts = [json.loads(text) for text in said]
        hits = np.array([row[metric.removesuffix("_accuracy")] for row in counts], np.float64)
        return share_statistic(hits, np.array([row["tokens"] for row in counts], np.float64))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


TASK_TYPE: TaskType = FillMask()
