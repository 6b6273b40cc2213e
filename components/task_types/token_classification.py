"""Entities in a text, as spans: names, places, dates, the parts of an order.

The network tags each unit of a text (`text_units.py`) with O, B-x or I-x, at the unit's first piece. Of a text in
several windows each unit is tagged by one of them (`unit_windows.py`), and the whole text is decoded at once: unit by
unit, an illegal I-x beginning an entity, or with a CRF. An entity's score is the mean of its units' calibrated
probabilities, which with a CRF are marginals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.config import Section, Training
from components.entities.entity_metrics import METRICS, entity_metrics, entity_statistic, per_label, row_f1
from components.entities.entity_rows import FAULTS, MENDED, read_spans, read_tagged
from components.entities.tags import as_label, is_more_than_io, spans_of_label
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
from components.task_types.looks import TEXT, Sought

if TYPE_CHECKING:
    import torch


IO = "io"  # key of what a file's rows together tell


TAGS = ("ner_tags", "tags", "bio_tags", "labels")  # what people call the column


class TokenSettings(Section):
    """How tags are read and decoded."""

    decoder: Literal["argmax", "crf"] = Field(
        "argmax", description="crf also learns which tag follows which, and decodes whole texts with it."
    )
    units: Literal["auto", "words", "marks"] = Field(
        "auto",
        description="What gets a tag: whole words, with marks inside them such as U.S or Goma-Bukavu, or each mark by "
        "itself too; auto is words where no entity of the training rows begins or ends inside one.",
    )
    illegal_sequences: Literal["refuse", "repair"] = Field(
        "refuse",
        description="Rows with an I- where no entity has begun: refuse sets them aside, repair begins one. A file "
        "in which no tag is more than I- is IO, and every I- right.",
    )


class TokenClassification(TaskType):
    """A linear layer on each token, with cross-entropy or a linear-chain CRF."""

    name = "token_classification"
    purpose = "Finds the entities in a text: where each begins and ends, its label and a score."
    limits = "It knows the labels below and no others, and its entities neither overlap nor hold each other."
    hub_task = "token-classification"
    forms = (
        (Column("text"), Column("entities", "json")),
        (Column("tokens", "json"), Column("tags", "json")),
    )
    sought = (
        (Sought("entities", ("entities", "spans", "annotations", "实体"), "spans"), TEXT),
        (Sought("tags", TAGS, "texts"), Sought("tokens", ("tokens", "words", "characters"), "texts")),
    )
    rewrites = True
    faults = FAULTS
    mended = MENDED
    unreachable = (
        "an entity that begins or ends inside a word or a character of several code points",
        "check the offsets: they count code points, as Python does, not bytes or UTF-16 units; the end is exclusive.",
    )
    settings = TokenSettings
    targets_are = "tokens"
    metric_names = METRICS

    def read(self, values: Mapping[str, str | None], settings: Mapping[str, Any]) -> Mapping[str, str] | Fault:
        if "tokens" in values:
            io = settings[IO] if IO in settings else not is_more_than_io(values.get("tags") or "")
            repair = settings.get("illegal_sequences") == "repair"
            return read_tagged(values["tokens"], values.get("tags"), io=io, repair=repair)
        return read_spans(values["text"], values.get("entities"))

    def settings_of_file(
        self, rows: Iterable[Mapping[str, str | None]], settings: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Whether the tags are IO is not for one row to say: `O I-PER O` is legal there, and a mistake in BIO."""
        return {**settings, IO: not any(is_more_than_io(row.get("tags") or "") for row in rows)}

    def learn(self, settings: Mapping[str, Any], rows: Iterable[Row]) -> Mapping[str, Any]:
        """Whether units are words, where the run file leaves it to the rows."""
        from components.entities.text_units import borders_keep_words

        if settings.get("units") != "auto":
            return settings
        spans = ((row["text"], spans_of_label(row["label"])) for row in rows)
        return {**settings, "units": "words" if borders_keep_words(spans) else "marks"}

    def words(self, label: str) -> Sequence[str]:
        return [name for _, _, name in spans_of_label(label)]

    def out_of_reach(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> list[int]:
        """Rows with an entity whose borders are not those of units: what is taught and given is the whole units."""
        from components.entities.unit_windows import split_row

        found: list[int] = []
        for place, row in enumerate(rows):
            units = split_row(row, spec)
            starts, ends = {start for start, _ in units}, {end for _, end in units}
            if not all(start in starts and end in ends for start, end, _ in spans_of_label(row["label"])):
                found.append(place)
        return found

    # --- network ----------------------------------------------------------------------------------------------------
    def build_network(self, base: Path, spec: Spec) -> Any:
        from components.entities.token_network import build_token_network

        return build_token_network(base, spec.labels, with_crf=_has_crf(spec))

    def load_network(self, folder: Path, spec: Spec) -> Any:
        from components.entities.token_network import load_token_network

        return load_token_network(folder, spec.labels, with_crf=_has_crf(spec))

    def encode(self, tokenizer: Any, rows: Sequence[Row], spec: Spec) -> Windows:
        from components.entities.unit_windows import window_units

        return window_units(tokenizer, rows, spec)

    def targets(self, rows: Sequence[Row], windows: Windows, spec: Spec) -> Sequence[Sequence[float]]:
        from components.entities.unit_emissions import window_targets

        return window_targets(rows, windows, spec)

    def forward(self, network: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        from components.entities.token_network import token_scores

        return token_scores(network, inputs)

    def loss(
        self, network: Any, outputs: torch.Tensor, targets: torch.Tensor, training: Training, weights: Any
    ) -> torch.Tensor:
        """Mean over the units; training.label_smoothing has no part in a CRF's."""
        from components.entities.token_network import crf_loss, tag_loss

        if hasattr(network, "crf"):
            return crf_loss(outputs, targets)
        return tag_loss(outputs, targets, training.label_smoothing)

    def split(self, outputs: NDArray[np.float32], inputs: Arrays) -> list[NDArray[np.float32]]:
        from components.entities.unit_emissions import without_padding

        return without_padding(outputs, inputs)

    # --- answers ----------------------------------------------------------------------------------------------------
    def combine(
        self, rows: Sequence[Row], windows: Windows, outputs: Sequence[NDArray[np.float32]], spec: Spec
    ) -> Outputs:
        """`Emissions` of each row."""
        from components.entities.unit_emissions import gather_emissions

        tags = 1 + 2 * len(spec.labels)
        return gather_emissions(rows, windows, outputs, spec, tags + 2 if _has_crf(spec) else 0)

    def fit(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> dict[str, Any]:
        from components.entities.tag_decoding import mean_log_loss
        from components.entities.unit_emissions import true_tags
        from components.models.calibration import fit_temperature

        tags = true_tags(outputs, rows, spec.labels)
        return {"temperature": fit_temperature(lambda t: mean_log_loss(outputs, tags, t))}

    def answers(self, rows: Sequence[Row], outputs: Outputs, spec: Spec) -> list[Answer]:
        from components.entities.tag_decoding import decode, entities_of

        tagged = decode(outputs, spec.fitted.get("temperature", 1.0))
        return [
            {
                "entities": entities_of(row["text"], output.offsets, own, spec.labels),
                "score": float(own.chosen.min(initial=1.0)),
                "margin": float((own.chosen - own.other).min(initial=1.0)),
            }
            for row, output, own in zip(rows, outputs, tagged, strict=True)
        ]

    def present(self, answer: Answer, top_k: int) -> dict[str, Any]:
        return {"entities": [{**entity, "score": round(entity["score"], 6)} for entity in answer["entities"]]}

    def margin(self, answer: Answer) -> float:
        return float(answer["margin"])

    def said(self, answer: Answer) -> str:
        return as_label([(entity["start"], entity["end"], entity["label"]) for entity in answer["entities"]])

    # --- scores -----------------------------------------------------------------------------------------------------
    def quality(self, truths: Sequence[str], said: Sequence[str]) -> Numbers:
        return row_f1(truths, said)

    def metrics(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, float]:
        from components.sequences.classification_metrics import expected_calibration_error

        found = entity_metrics(truths, [self.said(answer) for answer in answers])
        right, scores = _right_entities(truths, answers)
        error = expected_calibration_error(right, scores) if len(right) else 0.0
        return {**found, "expected_calibration_error": error}

    def statistic(self, metric: str, truths: Sequence[str], said: Sequence[str]) -> Statistic:
        return entity_statistic(metric, truths, said)

    def details(self, truths: Sequence[str], answers: Sequence[Answer], spec: Spec) -> dict[str, Any]:
        from components.sequences.classification_metrics import reliability

        table = per_label(truths, [self.said(answer) for answer in answers])
        points = reliability(*_right_entities(truths, answers))
        return {name: value for name, value in {"per_class": table, "reliability": points}.items() if value}


def _has_crf(spec: Spec) -> bool:
    return spec.settings.get("decoder") == "crf"


def _right_entities(truths: Sequence[str], answers: Sequence[Answer]) -> tuple[NDArray[np.bool_], Numbers]:
    """Whether each entity that was said is right, and its score."""
    right, scores = [], []
    for truth, answer in zip(truths, answers, strict=True):
        spans = set(spans_of_label(truth))
        for entity in answer["entities"]:
            right.append((entity["start"], entity["end"], entity["label"]) in spans)
            scores.append(entity["score"])
    return np.array(right, bool), np.array(scores, np.float64)


TASK_TYPE: TaskType = TokenClassification()
