"""Extractive question answering: the part of a context that answers a question, or that there is none.

A linear layer gives each token a score as the start and one as the end of the answer. How windows are made is in
`answer_windows`, how spans are chosen in `answer_spans`, how they are scored in `answer_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.answers.answer_labels import FAULTS, MENDED, read_answers
from components.config import Section, Training
from components.task_types.base import (
    Answer,
    Arrays,
    Column,
    Fault,
    Numbers,
    Outputs,
    Row,
    Spec,
    Statistic,
    TaskType,
    Windows,
)
from components.task_types.looks import Sought

if TYPE_CHECKING:
    import torch


# What people call the column.
CONTEXTS = ("context", "passage", "paragraph", "document", "article", "text", "上下文", "段落", "文章")


class Settings(Section):
    """How answers are looked for; the defaults are those of Google's run_squad.py."""

    max_query_length: int = Field(64, ge=1, description="Longest question in tokens; the rest is cut, and counted.")
    max_answer_length: int = Field(
        30,
        ge=1,
        le=512,
        description="Longest answer in tokens; rows with longer ones are counted, and missed. More costs time.",
    )
    n_best: int = Field(20, ge=1, le=100, description="Candidates that are kept of each context.")


class QuestionAnswering(TaskType):
    """Cross-entropy over the positions of a window, for the start and for the end; [CLS] where it has no answer."""

    name = "question_answering"
    purpose = "Finds the part of a text that answers a question, or says that there is none, with a score."
    limits = "It finds what stands in a text, word for word: it neither counts, nor concludes, nor knows anything else."
    hub_task = "question-answering"
    forms = (
        (
            Column("question"),
            Column("context"),
            Column("answers", "json"),
            Column("is_impossible", "word", optional=True),
        ),
    )
    sought = (
        (
            Sought("answers", ("answers", "answer", "答案"), "answers"),
            Sought("question", ("question", "query", "问题")),
            Sought("context", CONTEXTS, content="longest"),
        ),
    )
    texts = ("question", "context")
    grouped_by = ("context",)  # a passage that was learned from must not be asked about in the test
    rewrites = True
    faults = FAULTS
    mended = MENDED
    unreachable = (
        "an answer that is longer than task.max_answer_length, or that no window holds whole",
        "raise task.max_answer_length or model.max_length; those rows are learned from all the same, and missed.",
    )
    has_labels = False
    settings = Settings
    many = "questions"
    targets_are = "vector"
    metric_names = ("f1", "exact_match")

    def read(self, values: Mapping[str, str | None], settings: Mapping[str, Any]) -> Mapping[str, str] | Fault:
        texts = {role: text for role in self.texts if (text := values.get(role)) is not None}
        context, answers = values.get("context"), values.get("answers")
        if context is None or answers is None or not answers.strip():
            return texts
        label = read_answers(context, answers, values.get("is_impossible"))
        if isinstance(label, Fault):
            return replace(label, row=label.row and {**texts, **label.row})
        return {**texts, "label": label}

    def suggest(self, labels: Sequence[str]) -> Mapping[str, Any]:
        """A `max_answer_length` that 99 of 100 answers have, if the default is less."""
        from components.answers.answer_labels import estimated_tokens
        from components.answers.answer_metrics import true_answers

        lengths = [min(map(estimated_tokens, texts)) for label in labels if (texts := true_answers(label))]
        wanted = int(np.percentile(lengths, 99)) + 1 if lengths else 0
        default, most = Settings().max_answer_length, 512
        return {"max_answer_length": min(-(-wanted // 10) * 10, most)} if wanted > default else {}

    def words(self, label: str) -> Sequence[str]:
        return ()

    def build_network(self, base: Path, spec: Spec) -> Any:
        import torch
        from transformers import AutoModelForQuestionAnswering

        from components.sequences.sequence_network import SAFE

        return AutoModelForQuestionAnswering.from_pretrained(base, dtype=torch.float32, **SAFE)

    def load_network(self, folder: Path, spec: Spec) -> Any:
        return self.build_network(folder, spec)

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.answers.answer_windows import encode_questions

        return encode_questions(tokenizer, rows, spec)

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        """Start and end position of the first true answer, in each window that holds it whole."""
        import json

        from components.answers.answer_windows import CLS, answer_targets, windows_by_row

        found: list[tuple[int, int]] = []
        for row, numbers in zip(rows, windows_by_row(windows, len(rows)), strict=True):
            truth = json.loads(row["label"])
            if truth["text"]:
                text, first = truth["text"][0], truth["answer_start"][0]
                found += answer_targets([windows.features[k] for k in numbers], first, first + len(text))
            else:
                found += [(CLS, CLS)] * len(numbers)
        return found

    def out_of_reach(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> list[int]:
        """Rows of which every true answer is longer than `max_answer_length`, or in no window where it counts."""
        import json

        from components.answers.answer_spans import can_be_found
        from components.answers.answer_windows import windows_by_row

        longest = int(spec.settings["max_answer_length"])
        found: list[int] = []
        for place, (row, numbers) in enumerate(zip(rows, windows_by_row(windows, len(rows)), strict=True)):
            truth, own = json.loads(row["label"]), [windows.features[k] for k in numbers]
            spans = [
                (start, start + len(text)) for text, start in zip(truth["text"], truth["answer_start"], strict=True)
            ]
            if spans and not any(can_be_found(own, first, last, longest) for first, last in spans):
                found.append(place)
        return found

    def forward(self, network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Start and end logits, (batch, tokens, 2)."""
        import torch

        outputs = network(**inputs)
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)

    def without_padding(self, outputs: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Padding is no place of an answer: what is computed there, or not, must not take any likelihood."""
        if "attention_mask" not in inputs:
            return outputs
        return outputs.masked_fill(inputs["attention_mask"][:, :, None] == 0, float("-inf"))

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        """Mean over starts and ends; training.label_smoothing spreads over the tokens that are no padding."""
        scores = outputs.float().log_softmax(dim=1)  # (windows, tokens, 2)
        right = scores.gather(1, targets[:, None, :])[:, 0]
        known = scores.isfinite()
        evenly = scores.where(known, 0).sum(dim=1) / known.sum(dim=1)
        smoothing = training.label_smoothing
        return -((1 - smoothing) * right + smoothing * evenly).mean()

    def split(self, outputs: NDArray[np.float32], inputs: Arrays) -> list[NDArray[np.float32]]:
        if "attention_mask" not in inputs:
            return list(outputs)
        lengths = inputs["attention_mask"].sum(axis=1).tolist()
        return [own[:length] for own, length in zip(outputs, lengths, strict=True)]

    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """The `Spans` of each row."""
        from components.answers.answer_spans import best_spans
        from components.answers.answer_windows import windows_by_row

        limits = {name: int(spec.settings[name]) for name in ("n_best", "max_answer_length")}
        return [
            best_spans(row["context"], [windows.features[k] for k in own], [outputs[k] for k in own], **limits)
            for row, own in zip(rows, windows_by_row(windows, len(rows)), strict=True)
        ]

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        from components.answers.answer_choice import fit_choice

        return fit_choice([row["context"] for row in rows], [row["label"] for row in rows], outputs)

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from components.answers.answer_choice import EVEN, TEMPERATURE, THRESHOLD, answer_of, probabilities

        threshold = spec.fitted.get(THRESHOLD, EVEN)
        table = probabilities(outputs, spec.fitted.get(TEMPERATURE, 1.0), threshold)
        return [
            answer_of(row["context"], own, scores.tolist(), threshold)
            for row, own, scores in zip(rows, outputs, table, strict=True)
        ]

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        candidates = [
            {**candidate, "score": round(candidate["score"], 6)} for candidate in answer["candidates"][:top_k]
        ]
        scores = {name: round(answer[name], 6) for name in ("score", "no_answer_score")}
        places = {name: answer[name] for name in ("answer", "start", "end")}
        return {**places, **scores, "candidates": candidates}

    def margin(self, answer: Answer) -> float:
        """The smaller of two distances: to another best span in probability, to (not) answering in logits."""
        scores = [*(candidate["score"] for candidate in answer["candidates"]), 0.0, 0.0]
        return float(min(abs(answer["beyond_threshold"]), scores[0] - scores[1] if answer["answer"] else np.inf))

    def said(self, answer: Answer) -> str:
        return str(answer["answer"])

    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        """F1 of each row."""
        from components.answers.answer_metrics import answer_scores

        return answer_scores("f1", truths, said)

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        from components.answers.answer_metrics import answer_metrics, answer_scores
        from components.sequences.classification_metrics import expected_calibration_error

        said = [self.said(answer) for answer in answers]
        right = answer_scores("exact_match", truths, said) == 1
        confidence = np.array([answer["score"] for answer in answers])
        error = expected_calibration_error(right, confidence)
        return {**answer_metrics(truths, said), "expected_calibration_error": error}

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        from components.answers.answer_metrics import answer_statistic

        return answer_statistic(metric, truths, said)

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        from components.answers.answer_metrics import answer_scores
        from components.sequences.classification_metrics import reliability

        right = answer_scores("exact_match", truths, [self.said(answer) for answer in answers]) == 1
        return {"reliability": reliability(right, np.array([answer["score"] for answer in answers]))}


TASK_TYPE: TaskType = QuestionAnswering()
