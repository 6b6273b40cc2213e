"""Recipes in MLflow: an artifact of the run that trained a version."""

from __future__ import annotations

from components.errors import RegistryError
from components.recipes import Recipe
from components.records import RegisteredVersion, as_json
from components.registry.store import mlflow_errors
from components.settings import Settings
from components.tracking.places import artifact_errors, place_of

RECIPE = "recipe.json"


@mlflow_errors
def log_recipe(settings: Settings, run_id: str, recipe: Recipe) -> None:
    """Keep what a run makes its model from."""
    place = place_of(settings, run_id)
    with artifact_errors(settings):
        place.client.log_dict(run_id, as_json(recipe), RECIPE)


@mlflow_errors
def read_recipe(settings: Settings, version: RegisteredVersion) -> tuple[Recipe, str]:
    """What a version was made from, and the commit of the code; empty where that was not known.

    Raises:
        RegistryError: its run has no recipe, or it is damaged.
    """
    from mlflow.artifacts import list_artifacts, load_dict
    from pydantic import TypeAdapter, ValidationError

    run = place_of(settings, version.run_id).client.get_run(version.run_id)
    with artifact_errors(settings):
        kept = list_artifacts(run_id=version.run_id, tracking_uri=settings.tracking_uri)
        if RECIPE not in {file.path for file in kept}:
            raise RegistryError(
                f"Version {version.version} of '{version.name}' has no recipe in MLflow run {version.run_id}: it was "
                "made before recipes were kept, by a pretraining, or its run was emptied.",
                "name a version that 'rebert run' has made since.",
            )
        content = load_dict(f"{run.info.artifact_uri}/{RECIPE}")
    try:
        recipe = TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        raise RegistryError(
            f"{RECIPE} of MLflow run {version.run_id} is damaged: {error.error_count()} wrong values.",
            "restore it, or name another version.",
        ) from error
    return recipe, run.data.tags.get("mlflow.source.git.commit", "")
