"""What a pretraining leaves in MLflow beside its scores: the numbers of each phase, of the corpus, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.pretraining_config import PretrainingConfig
from components.records import BaseModel, PretrainingExamples, TrainedModel
from components.registry.store import mlflow_errors
from components.settings import Settings
from components.tracking.curves import send_history
from components.tracking.places import place_of

if TYPE_CHECKING:
    from components.reports.adaptation import Adaptation

SAMPLES = "samples.md"


def pretraining_params(config: PretrainingConfig, examples: PretrainingExamples, base: BaseModel) -> dict[str, Any]:
    """What distinguishes one pretraining from another, by stable names."""
    phases = {
        f"phase_{number}.{name}": value
        for number, phase in enumerate(config.phases, 1)
        for name, value in {**phase.model_dump(), "learning_rate": config.learning_rate(phase)}.items()
    }
    return {
        "model.base": base.spec,
        **{f"examples.{name}": value for name, value in config.examples.model_dump().items()},
        **phases,
        **{f"corpus.{split}_documents": count for split, count in examples.documents.items()},
        **{f"corpus.{split}_tokens": count for split, count in examples.tokens.items()},
        "training.seed": config.training.seed,
        "training.weight_decay": config.training.weight_decay,
        "launch.processes": config.processes,
    }


@mlflow_errors
def log_phase(settings: Settings, run_id: str, number: int, model: TrainedModel) -> None:
    """The whole curves of a phase, what it came to on the held-out documents, and samples of its guesses."""
    place = place_of(settings, run_id)
    send_history(settings, run_id, model.history)
    place.metrics({f"phase_{number}/{name}": value for name, value in model.validation_metrics.items()})
    place.metrics({f"phase_{number}/seconds": model.seconds})
    place.upload(model.history.parent / SAMPLES, f"phase_{number}")


@mlflow_errors
def log_examples(settings: Settings, run_id: str, examples: PretrainingExamples) -> None:
    """How many sequences there are, and what a guess without a model would come to."""
    counts: dict[str, float | None] = {f"examples/{name}": count for name, count in examples.sequences.items()}
    place_of(settings, run_id).metrics(
        {
            **counts,
            "examples/random_share": examples.random_share,
            "examples/unknown_share": examples.unknown_share,
            "examples/unigram_entropy": examples.unigram_entropy,
        }
    )


@mlflow_errors
def log_adaptation(settings: Settings, run_id: str, found: Adaptation, folder: Path) -> None:
    """What a pretraining did for a task: in words, in numbers, and as files."""
    place = place_of(settings, run_id)
    place.client.set_tag(run_id, "adaptation", found.sentence)
    low, high = found.over_seeds
    place.metrics({"adaptation/difference": found.difference, "adaptation/low": low, "adaptation/high": high})
    place.upload(folder, "adaptation")


def tell_phases(models: Sequence[TrainedModel]) -> dict[str, float]:
    """The held-out metrics of the phases, each by its own names."""
    return {
        f"phase_{number}_{name}": value
        for number, model in enumerate(models, 1)
        for name, value in model.validation_metrics.items()
    }
