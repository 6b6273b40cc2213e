"""A model directory as an MLflow model: a thin pyfunc around it, with the code that loads it, and no pickle."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.digests import project_sources
from components.models.model_directory import Manifest, read_golden
from components.models.pyfunc import DEFAULT_TOP_K
from components.step_store import storage_errors

LOADER = "components.models.pyfunc"
# What the loader imports; MLflow adds itself. Training, validation and serving need much more.
PACKAGES = ("numpy", "pandas", "pydantic", "safetensors", "scipy", "tokenizers", "torch", "transformers")
EXAMPLE_ROWS = 2


def upload_model(client: Any, model: Any, folder: Path, manifest: Manifest, scratch: Path) -> None:
    """Fill a logged model with a model directory.

    Args:
        client: an MlflowClient.
        model: the pending LoggedModel.
        folder: the model directory, verified.
        manifest: its manifest.
        scratch: folder for the copy that is made on the way.

    Raises:
        StorageError: the disk of `scratch`, or of an embedded MLflow, is full or read-only.
    """
    with storage_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="package-") as temporary:
            package = Path(temporary) / "package"
            _write_package(package, Path(temporary), model, folder, manifest)
            client.log_model_artifacts(model.model_id, str(package))


def _write_package(package: Path, temporary: Path, model: Any, folder: Path, manifest: Manifest) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    golden = read_golden(folder)
    inputs = pd.DataFrame([dict(row.row) for row in golden])
    outputs = pd.DataFrame([dict(row.answer) for row in golden])
    mlflow.pyfunc.save_model(
        path=str(package),
        loader_module=LOADER,
        data_path=str(_named_model(temporary, folder)),
        code_paths=[str(_copy_code(temporary, manifest.task_type))],
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=model.source_run_id,
            model_id=model.model_id,
            model_uuid=model.model_id,
        ),
        pip_requirements=pinned_requirements(),
        signature=_signature(inputs, outputs),
        input_example=inputs[:EXAMPLE_ROWS],
        metadata={"task_type": manifest.task_type, "labels": len(manifest.labels)},
    )


def _named_model(temporary: Path, folder: Path) -> Path:
    """The model directory under the name that it shall have in the artifacts: `data/model`."""
    if folder.name == "model":
        return folder
    link = temporary / "model"
    link.symlink_to(folder.resolve(), target_is_directory=True)
    return link


def _copy_code(temporary: Path, task_type: str) -> Path:
    """The modules that the loader imports, and no others, as a package beside the model."""
    for name, path in project_sources(LOADER, f"components.task_types.{task_type}").items():
        copy = temporary / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return temporary / "components"


def pinned_requirements() -> list[str]:
    """Exact versions of what the loader needs, without local labels such as +cpu, which no index has."""
    return [f"{name}=={version(name).split('+')[0]}" for name in PACKAGES]


def _signature(inputs: Any, outputs: Any) -> Any:
    from mlflow.models import infer_signature

    return infer_signature(inputs, outputs, {"top_k": DEFAULT_TOP_K})
