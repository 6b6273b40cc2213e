"""The rows that a version was trained, chosen and judged on: found among the finished steps, or validated again."""

from __future__ import annotations

from pathlib import Path

from components.digests import digest_file
from components.errors import DataError
from components.recipes import Recipe
from components.records import BaseModel, ValidatedDataset
from components.settings import Settings
from components.step_store import StepStore

SHOWN = 3


def rows_behind(recipe: Recipe, base: BaseModel | None, settings: Settings) -> ValidatedDataset:
    """The validated rows of a recipe.

    Args:
        base: its tokenizer counts what would be cut; None leaves those checks out.

    Raises:
        DataError: they are not among the finished steps, and the files are not what they were.
        RejectedData: validation stops what it once let through.
    """
    from components.validation.examination import validate_dataset

    store, step = StepStore(settings.steps), recipe.step("validate")
    found = store.find(step, ValidatedDataset)
    if found is not None:
        return found
    files = [file for named in recipe.files.values() for file in named]
    wrong = [file.path for file in files if not _is_as_it_was(file.path, file.digest)]
    if wrong:
        raise DataError(
            f"The rows that the version was made from are not here: {', '.join(map(str, wrong[:SHOWN]))} "
            f"{'is' if len(wrong) == 1 else 'are'} gone or changed, and the validated rows were removed.",
            "restore those files, or run the run file again.",
        )
    config = recipe.run_config()
    return store.run(step, lambda folder: validate_dataset(config, base, recipe.labels, folder, files=recipe.files))


def _is_as_it_was(path: Path, digest: str) -> bool:
    return path.is_file() and digest_file(path) == digest
