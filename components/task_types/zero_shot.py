"""One of labels that are named in the request, or several, without any training for them.

Each label becomes a sentence by a template. A model that has learned entailment says how much the text entails it; the
network of any other model gives the cosine of the text's embedding with the sentence's.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.config import Section, Training
from components.sequences.one_label import OneLabel
from components.task_types.base import READING, Answer, Column, Features, Outputs, Row, Spec, TaskType, Windows

if TYPE_CHECKING:
    import torch


class ZeroShotSettings(Section):
    """The section `task` of zero_shot."""

    source: Literal["auto", "nli", "embeddings"] = Field(
        "auto", description="nli asks a model of entailment, embeddings any encoder; auto is nli where model.base can."
    )
    template: str | None = Field(
        None,
        pattern=r"^[^{}]*\{\}[^{}]*$",
        description="The sentence that a label becomes, with {} in its place; left out: by the script of the labels.",
    )
    names: Mapping[str, str] = Field(
        default_factory=dict, description="What a label is called in that sentence, where its own name says little."
    )
    prefix: str = Field(
        "", description="What the encoder wants before each text, such as 'query: ' for E5; only with embeddings."
    )


class ZeroShot(OneLabel):
    """Softmax over the labels' entailment logits or scaled cosines; with several labels a sigmoid for each."""

    name = "zero_shot"
    purpose = "Gives each text one of the labels, or several, that are named when it is asked."
    limits = "The scores above hold for the labels below and their template: with others it may be better or worse."
    hub_task = "zero-shot-classification"
    forms = ((Column("text"), Column("label", "word")),)
    settings = ZeroShotSettings
    trains = False

    def settle(self, settings: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
        from components.prompts.prompt_network import find_source

        return {**settings, "source": find_source(base, settings["source"])}

    def build_network(self, base: Path, spec: Spec) -> Any:
        """The network of `base` as it is."""
        return self.load_network(base, spec)

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.prompts.prompt_network import load_prompt_network

        return load_prompt_network(folder, spec.settings["source"])

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.prompts.label_prompts import question_of
        from components.prompts.prompt_windows import window_pairs, window_texts_and_prompts

        questions = [question_of(row, spec) for row in rows]
        encode = window_pairs if spec.settings["source"] == "nli" else window_texts_and_prompts
        return encode(tokenizer, rows, questions, spec)

    def cost(self, rows: Sequence[Row], spec: Spec) -> int:
        """Every text with each of its labels, or, with embeddings, each text and each label once."""
        from components.prompts.label_prompts import numbered_prompts, question_of

        questions = [question_of(row, spec) for row in rows]
        if spec.settings["source"] == "nli":
            return sum(
                READING + len(row["text"]) + len(prompt)
                for row, question in zip(rows, questions, strict=True)
                for prompt in question.prompts
            )
        return super().cost(rows, spec) + sum(READING + len(prompt) for prompt in numbered_prompts(questions))

    def again(self, window: Features, spec: Spec) -> Hashable | None:
        """A prompt that is read by itself; with entailment, each stands beside a text."""
        by_itself = spec.settings["source"] == "embeddings" and window["prompt"][0] > 0
        return tuple(window["input_ids"]) if by_itself else None

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        index = {label: position for position, label in enumerate(spec.labels)}
        return [[index[rows[row]["label"]]] for row in windows.rows]

    def forward(self, network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from components.prompts.prompt_network import read_windows

        outputs: torch.Tensor = read_windows(network, inputs)
        return outputs

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        raise TypeError("zero_shot learns nothing: trains is False")

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """Evidence for each label of each row: (labels, 2) from entailment, (labels,) from embeddings."""
        from components.prompts.label_prompts import question_of
        from components.prompts.prompt_scores import cosine_evidence, entailment_evidence

        questions = [question_of(row, spec) for row in rows]
        evidence = entailment_evidence if spec.settings["source"] == "nli" else cosine_evidence
        return evidence(questions, windows, outputs)

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        from components.models.calibration import fit_temperature, log_softmax
        from components.prompts.prompt_scores import fit_logistic, independent_logits

        evidence = np.stack(outputs)
        logits = evidence[..., 0] if evidence.ndim == 3 else evidence  # (rows, labels)
        truth = np.array([[label == row["label"] for label in spec.labels] for row in rows])
        fitted = {"temperature": fit_temperature(lambda t: -log_softmax(logits / t)[truth].mean())}
        alone = np.stack([independent_logits(own) for own in outputs])
        fitted["slope"], fitted["offset"] = fit_logistic(alone, truth)
        return fitted

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from components.prompts.label_prompts import question_of
        from components.prompts.prompt_scores import exclusive_scores, independent_scores

        fitted = spec.fitted
        found: list[Answer] = []
        for row, evidence in zip(rows, outputs, strict=True):
            question = question_of(row, spec)
            if question.multi_label:
                scores = independent_scores(evidence, fitted.get("slope", 1.0), fitted.get("offset", 0.0)).tolist()
            else:
                scores = exclusive_scores(evidence, fitted.get("temperature", 1.0)).tolist()
            best = max(range(len(scores)), key=scores.__getitem__)
            labels = question.labels
            found.append({"label": labels[best], "score": scores[best], "labels": labels, "scores": scores})
        return found


TASK_TYPE: TaskType = ZeroShot()
