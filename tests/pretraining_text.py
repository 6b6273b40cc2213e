"""Run files and text for pretraining tests: real sentences of the shipped examples, and networks done in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.data.data_files import as_found, find_files
from components.pretraining.corpus import read_corpus
from components.pretraining.documents import KINDS
from components.pretraining.examples import make_examples
from components.pretraining.pretraining import PhaseJob
from components.pretraining.vocabulary import new_base
from components.pretraining_config import PretrainingConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ENGLISH = EXAMPLES / "pretrain_en" / "books.txt"
CHINESE = EXAMPLES / "pretrain_zh" / "wiki.txt"
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def documents_of(path: Path) -> list[list[str]]:
    """The documents of a shipped file, as lists of sentences."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [block.strip().split("\n") for block in blocks if block.strip()]


def write_text(path: Path, documents: int, sentences: int, source: Path = ENGLISH) -> Path:
    """A part of a shipped file."""
    parts = ["\n".join(document[:sentences]) for document in documents_of(source)[:documents]]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def small_content(text: Path, **sections: Any) -> dict[str, Any]:
    """The content of a run file that is done in seconds."""
    return {
        "name": "small-bert",
        "corpus": {"files": str(text), "held_out": 0.2},
        "vocabulary": {"size": 400},
        "model": {"config": SMALL},
        "phases": [{"max_length": 32, "epochs": 2, "batch_size": 16, "learning_rate": 1e-3}],
        "training": {"device": "cpu", "precision": "fp32", "evaluations": 2},
        "evaluation": {"passages": 30, "bootstrap_samples": 100},
        "serving": {"engine": "torch"},
        **sections,
    }


def write_pretraining_file(folder: Path, content: dict[str, Any]) -> Path:
    """A run file."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def small_phase(folder: Path, text: Path, **sections: Any) -> PhaseJob:
    """All that the first phase needs, made in `folder`."""
    config = PretrainingConfig.model_validate(small_content(text, **sections))
    files = [as_found(path) for path in find_files(config.corpus.files, folder, KINDS)]
    places = {name: folder / name for name in ("corpus", "vocabulary", "examples")}
    for place in places.values():
        place.mkdir(parents=True)
    dataset = read_corpus(config, files, places["corpus"])
    base = new_base(config, dataset, None, places["vocabulary"])
    made = make_examples(config, dataset, base, places["examples"])
    return PhaseJob(config, 1, made, base, dataset, None, folder / "phase")
