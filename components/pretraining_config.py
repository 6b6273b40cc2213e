"""The settings of a pretraining run file: one frozen tree, every key described here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.config import Device, Gate, Paths, Precision, RunConfig, Section, Serving, Share, Training

Size = Literal["tiny", "mini", "small", "medium", "base", "large"]
Form = Literal["sentences", "lines", "files"]


class Corpus(Section):
    """The raw text: plain text or JSON lines, by path or glob, relative to the run file's folder."""

    files: Paths = Field(description="Text or JSONL files: one path or glob, or a list of them.")
    form: Form = Field(
        "sentences",
        description="sentences: one a line, blank lines between documents; lines: each line is a document; files: each "
        "file is one, with blank lines between paragraphs. The last two are split into sentences. In JSONL each line "
        "is a document in any case.",
    )
    column: str = Field("text", description="Key of the text in JSON lines.")
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.05, description="Share of the documents that is only measured on, chosen by a hash of their text."
    )
    language: Literal["auto", "mixed"] = Field(
        "auto", description="auto stops when some documents are Chinese and others are not; mixed takes both."
    )
    max_sentence_characters: int = Field(
        10_000, ge=10, description="A longer line is taken for a text that was not cut into sentences."
    )


class Vocabulary(Section):
    """The WordPiece vocabulary of a model from scratch; one that goes on from a base model has that one's."""

    size: int = Field(8000, ge=100, description="Entries, at most: a small text has fewer pieces that occur twice.")
    lowercase: bool = Field(True, description="Lower-case the text and strip accents.")
    min_frequency: int = Field(2, ge=1, description="Fewest occurrences of a piece.")


class PretrainedModel(Section):
    """What is pretrained: a new network of a named size, or a base model that goes on with this text."""

    base: str | None = Field(
        None, description="Base model to go on from, written as in a fine-tuning run file; left out: from scratch."
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Digest that the base model's model.safetensors must have."
    )
    size: Size = Field("tiny", description="Size of a model from scratch: layers and width of Google's BERT models.")
    config: Mapping[str, Any] = Field(
        default_factory=dict, description="Keys of transformers' BertConfig that differ from the size's, or the base's."
    )

    @model_validator(mode="after")
    def _base_has_its_shape(self) -> PretrainedModel:
        fixed = sorted(set(self.config) & SHAPE)
        if self.base is not None and fixed:
            raise ValueError(
                f"the base model's weights decide {', '.join(fixed)}; only dropout and its kind can differ"
            )
        return self


# Source: Devlin et al. 2019; google-research/bert on going on from a checkpoint, where a larger rate forgets.
RATE_FROM_SCRATCH = 1e-4
RATE_GOING_ON = 2e-5
# What decides the shape of a network's weights.
DOCUMENT = "document"  # column of the scored passages that says which document each is of
SHAPE = {
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size"),
}


class Examples(Section):
    """How the text is cut, paired and masked; the defaults are those of the official BERT."""

    next_sentence: bool = Field(
        True, description="Learn whether two segments follow each other too; false: masked language modelling only."
    )
    masking: Literal["dynamic", "static"] = Field(
        "dynamic", description="dynamic hides other tokens in every epoch; static the same, as the official files do."
    )
    duplicates: int = Field(
        1,
        ge=1,
        le=100,
        description="Times that each document is cut and paired anew; officially 10, with static masks.",
    )
    mask_share: float = Field(0.15, gt=0, lt=0.9, description="Share of the tokens that are hidden.")
    short_share: Share = Field(0.1, description="Share of the documents that are cut into shorter sequences.")
    whole_words: Literal["none", "pieces", "chinese"] = Field(
        "none",
        description="What is hidden together: none draws each token by itself, pieces a word with all its pieces, "
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


class Phase(Section):
    """A part of the training with sequences of one length; it goes on from the phase before."""

    max_length: int = Field(128, ge=8, le=8192, description="Longest sequence in tokens.")
    epochs: float = Field(10, gt=0, le=1000, description="Passes over the examples.")
    batch_size: int = Field(32, ge=1, description="Sequences a step, of all processes together.")
    accumulation_steps: int = Field(1, ge=1, description="Parts in which a step's sequences are read to save memory.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate; left out: 1e-4 from scratch, 2e-5 going on from model.base. "
        "Tiny models take 1e-3.",
    )

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Phase:
        if self.batch_size % self.accumulation_steps:
            raise ValueError("batch_size must be a multiple of accumulation_steps")
        return self


class PretrainingSettings(Section):
    """What all phases share."""

    warmup_share: float = Field(
        0.1, ge=0, lt=1, description="Share of each phase's steps in which the learning rate rises."
    )
    weight_decay: float = Field(0.01, ge=0, description="Decay of weights, not of biases and norms.")
    evaluations: int = Field(5, ge=1, le=1000, description="Measurements on the held-out documents in each phase.")
    device: Device = Field("auto", description="auto takes a GPU where there is one.")
    precision: Precision = Field("auto", description="auto takes bf16 where the hardware really has it.")
    gradient_checkpointing: bool = Field(False, description="Spend time to save memory.")
    seed: int = Field(42, ge=0, description="Seed of the weights, the pairs, the masks, the dropout and the order.")
    max_hours: float = Field(240, gt=0, description="A phase is stopped with an error after so many hours.")


class Launch(Section):
    """Where the training runs: in one process, or in several under torch's elastic launcher."""

    processes: int = Field(1, ge=1, le=64, description="Processes on this machine: one for each GPU, or on a CPU.")
    nodes: int = Field(1, ge=1, description="Machines; docs/pretraining.md says what is started on the others.")
    rendezvous: str | None = Field(
        None, description="HOST:PORT where the machines meet; needed with more than one, which share a file system."
    )
    restarts: int = Field(3, ge=0, description="Times that the processes are started again after one of them died.")

    @model_validator(mode="after")
    def _machines_can_meet(self) -> Launch:
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError("with more than one machine, rendezvous must say where they meet, HOST:PORT")
        return self


class HeldOutEvaluation(Section):
    """What is measured on passages of the held-out documents, whose tokens are hidden one by one."""

    metric: Literal["top1_accuracy", "top5_accuracy"] = Field(
        "top1_accuracy", description="What the gate compares: tokens guessed at once, or among the five likeliest."
    )
    passages: int = Field(1000, ge=20, description="Most passages that are scored.")
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Resamplings behind each interval.")


class PretrainingGate(Gate):
    """When a pretrained model replaces the champion."""

    floor: float = Field(0.0, ge=0, le=1, description="Lowest score with which any model, also the first, goes live.")
    seeds: int = Field(1, ge=1, le=1, description="A pretraining is not repeated with other seeds.")

    @field_validator("decisions_per_holdout")
    @classmethod
    def _held_out_text_changes_with_the_corpus(cls, meant: int | None) -> int | None:
        if meant is not None:
            raise ValueError("the held-out passages are others whenever the corpus grows; leave it out")
        return meant


class PretrainingConfig(Section):
    """A base model that is made from raw text."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=60,
        description="Name of the model in MLflow: models:/NAME@champion is then a base model for fine-tuning.",
    )
    description: str = Field("", description="One sentence for the model card.")
    corpus: Corpus = Field(description="The raw text.")
    vocabulary: Vocabulary = Field(Vocabulary(), description="The vocabulary of a model from scratch.")
    model: PretrainedModel = Field(PretrainedModel(), description="What is pretrained.")
    examples: Examples = Field(Examples(), description="Pairs and masks.")
    phases: tuple[Phase, ...] = Field(
        (Phase(),), description="One or more, the shorter sequences first: officially 128, then 512."
    )
    training: PretrainingSettings = Field(PretrainingSettings(), description="The training.")
    launch: Launch = Field(Launch(), description="Processes and machines.")
    evaluation: HeldOutEvaluation = Field(HeldOutEvaluation(), description="Scores on held-out text.")
    gate: PretrainingGate = Field(PretrainingGate(), description="The decision.")
    serving: Serving = Field(Serving(), description="The endpoint that fills masks.")
    folder: Path = Field(Path(), exclude=True, description="Folder of the run file; set when it is read.")

    @field_validator("phases")
    @classmethod
    def _lengths_rise(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not phases:
            raise ValueError("there must be one or more")
        lengths = [phase.max_length for phase in phases]
        if lengths != sorted(lengths):
            raise ValueError("the phases' max_length must not fall")
        return phases

    @model_validator(mode="after")
    def _processes_share_a_batch(self) -> PretrainingConfig:
        count = self.launch.processes * self.launch.nodes
        for number, phase in enumerate(self.phases, 1):
            if phase.batch_size % (count * phase.accumulation_steps):
                raise ValueError(
                    f"phase {number} has {phase.batch_size} sequences a step, which {count} processes with "
                    f"{phase.accumulation_steps} parts each cannot share equally"
                )
        return self

    @property
    def processes(self) -> int:
        """Processes on all machines together."""
        return self.launch.processes * self.launch.nodes

    def learning_rate(self, phase: Phase) -> float:
        """The peak of a phase."""
        if phase.learning_rate is not None:
            return phase.learning_rate
        return RATE_FROM_SCRATCH if self.model.base is None else RATE_GOING_ON

    def fine_tuning_settings(self, phase: Phase) -> Training:
        """A phase in the words that the training of every model uses."""
        shared = self.training
        return Training(
            epochs=phase.epochs,
            batch_size=phase.batch_size // (self.processes * phase.accumulation_steps),
            accumulation_steps=phase.accumulation_steps,
            learning_rate=self.learning_rate(phase),
            warmup_share=shared.warmup_share,
            weight_decay=shared.weight_decay,
            early_stopping_patience=None,
            device=shared.device,
            precision=shared.precision,
            gradient_checkpointing=shared.gradient_checkpointing,
            seed=shared.seed,
            max_hours=shared.max_hours,
        )

    def as_fill_mask(self, base: str) -> RunConfig:
        """The same model as one that fills masks, which is what is registered, compared, bundled and served."""
        return RunConfig.model_validate(
            {
                "name": self.name,
                "description": self.description,
                "task_type": "fill_mask",
                "data": {"train": self.corpus.files},
                "model": {"base": base, "max_length": self.phases[-1].max_length},
                "training": self.fine_tuning_settings(self.phases[-1]).model_dump(),
                # Passages of one document are hard or easy together: tests and intervals draw documents.
                "evaluation": {**self.evaluation.model_dump(exclude={"passages"}), "documents": DOCUMENT},
                "gate": self.gate.model_dump(),
                "serving": self.serving.model_dump(),
                "folder": self.folder,
            }
        )
