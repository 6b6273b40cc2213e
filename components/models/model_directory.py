"""The model artifact: a plain directory that says all about itself.

`save_pretrained` layout (safetensors, tokenizer), `manifest.json` (task, labels, lengths, calibration, origins, and the
digest of every other file) and `golden.json` (inputs with the answers that the trainer gave). No pickles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.digests import canonical, digest_file, digest_files
from components.errors import BundleError
from components.task_types import Spec

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
# Written by transformers' Trainer beside the weights; pickles, or of no use to anyone who serves.
NOT_PART_OF_A_MODEL = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


class Manifest(BaseModel):
    """What a model directory says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 2
    name: str
    task_type: str
    labels: tuple[str, ...]
    max_length: int = Field(description="tokens")
    window_overlap: int = Field(0, description="tokens that neighbouring windows of a long text share")
    settings: Mapping[str, Any] = Field(default_factory=dict, description="the run file's section task")
    fitted: Mapping[str, Any] = Field(default_factory=dict, description="temperature, thresholds: from validation rows")
    base_model: str
    base_model_digest: str
    data_digest: str
    train_rows: int
    code_digest: str
    validation_metrics: Mapping[str, float]
    files: Mapping[str, str] = Field(default_factory=dict, description="SHA-256 of every other file")

    @property
    def spec(self) -> Spec:
        """What the model's answers depend on."""
        return Spec(self.labels, self.max_length, self.window_overlap, self.settings, self.fitted)


class GoldenRow(BaseModel):
    """One input and all that the trainer's own network said about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: Mapping[str, Any]
    answer: Mapping[str, Any]


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write `manifest.json` over the files in `folder`, last of all; returns the model's digest."""
    for name in NOT_PART_OF_A_MODEL:
        (folder / name).unlink(missing_ok=True)
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    complete = manifest.model_copy(update={"files": digest_files(files, folder)})
    path = folder / MANIFEST
    path.write_text(canonical(complete.model_dump(mode="json")), encoding="utf-8")
    return digest_file(path)


def model_digest(folder: Path) -> str:
    """Digest of a model directory: that of its manifest, which names every other file's."""
    return digest_file(folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model directory.

    Raises:
        BundleError: it is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{folder} holds no {MANIFEST}.", "name a folder that a run has written.") from error
    except ValidationError as error:
        raise BundleError(
            f"{path} is damaged: {error.error_count()} wrong values.", "restore or rebuild it."
        ) from error


def verify_model(folder: Path, *, with_weights: bool = True) -> Manifest:
    """The manifest, after every file has been compared with its digest.

    Args:
        with_weights: whether torch's weights must be there; a built engine has its own.

    Raises:
        BundleError: a file is missing, changed, or not named in the manifest.
    """
    manifest = read_manifest(folder)
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    found = digest_files(files, folder)
    wanted = {name: digest for name, digest in manifest.files.items() if with_weights or not is_weights(name)}
    wrong = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
    if wrong:
        raise BundleError(
            f"{folder} is not what was trained: {', '.join(wrong)} changed, is missing or was added.",
            "restore the folder from the registry, or run the model's run file again.",
        )
    return manifest


def is_weights(name: str) -> bool:
    """Whether a file of a model directory holds torch's weights."""
    return name.endswith(".safetensors")


def write_golden(folder: Path, rows: list[GoldenRow]) -> None:
    """Write the golden rows of a model directory; before its manifest."""
    content = [row.model_dump(mode="json") for row in rows]
    (folder / GOLDEN).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_golden(folder: Path) -> list[GoldenRow]:
    """The golden rows of a model directory."""
    return [GoldenRow.model_validate(item) for item in json.loads((folder / GOLDEN).read_text(encoding="utf-8"))]
