"""What each step of a pretraining depends on; the step store finds a finished one by the digest of these parts."""

from __future__ import annotations

from collections.abc import Sequence

from components.data.data_files import DataFile
from components.digests import digest_code, digest_of, digest_once
from components.pretraining_config import PretrainingConfig
from components.records import BaseModel, PretrainingExamples, ValidatedDataset
from components.step_parts import content_digest, section_digest, versions_of
from components.step_store import Step

# What these say changes no model: a limit, two wishes that `hardware` answers, and how often is measured.
NO_PART = {"max_hours", "device", "precision", "evaluations"}


def corpus_step(config: PretrainingConfig, files: Sequence[DataFile]) -> Step:
    """The corpus depends on the files' content and on how they are read and divided."""
    parts = {
        "corpus.files": content_digest(files),
        "corpus": digest_of(config.corpus.model_dump(mode="json", exclude={"files"})),
        "examples.next_sentence": str(config.examples.next_sentence),
        "evaluation.passages": str(config.evaluation.passages),
        "code": digest_code("components.pretraining.corpus"),
        "libraries": versions_of("pyarrow"),
    }
    return Step("corpus", config.name, parts)


def vocabulary_step(config: PretrainingConfig, dataset: ValidatedDataset, champion: str | None) -> Step:
    """A new base depends on the text to learn from, or on the champion whose vocabulary is kept (its digest)."""
    parts = {
        "text": champion or digest_once(dataset.split_file("train")),
        "vocabulary": section_digest(config.vocabulary),
        "model": section_digest(config.model),
        "longest": str(config.phases[-1].max_length),
        "code": digest_code("components.pretraining.vocabulary"),
        "libraries": versions_of("tokenizers", "transformers"),
    }
    return Step("vocabulary", config.name, parts)


def examples_step(config: PretrainingConfig, dataset: ValidatedDataset, base: BaseModel) -> Step:
    """Examples depend on the corpus, the vocabulary, and on how sequences are cut; masks are drawn in training."""
    parts = {
        "train": digest_once(dataset.split_file("train")),
        "held out": digest_once(dataset.split_file("validation")),
        "tokenizer": base.tokenizer_digest,
        "examples": digest_of(config.examples.model_dump(mode="json", exclude={"masking", "mask_share"})),
        "lengths": digest_of([phase.max_length for phase in config.phases]),
        "seed": str(config.training.seed),
        "code": digest_code("components.pretraining.examples"),
        "libraries": versions_of("numpy", "pyarrow", "tokenizers"),
    }
    return Step("examples", config.name, parts)


def phase_step(
    config: PretrainingConfig, number: int, examples: PretrainingExamples, base: BaseModel, hardware: str
) -> Step:
    """A phase depends on its examples, its settings, and on the phase before it."""
    before = phase_step(config, number - 1, examples, base, hardware).digest if number > 1 else "none"
    parts = {
        "examples": examples.digest,
        "base model": base.digest,
        "model": section_digest(config.model),
        "phase": section_digest(config.phases[number - 1]),
        "phase before": before,
        "sampling": section_digest(config.examples),
        "training": digest_of(config.training.model_dump(mode="json", exclude=NO_PART)),
        "processes": str(config.processes),
        "hardware": hardware,
        "code": digest_code("components.pretraining.pretraining", "components.task_types.fill_mask"),
        "libraries": versions_of("accelerate", "numpy", "torch", "transformers"),
    }
    return Step(f"phase_{number}", config.name, parts)
