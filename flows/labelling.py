"""`rebert label-queue`: what to label next, by the model that is live and the rows that it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components import registry
from components.errors import RegistryError
from components.records import RegisteredVersion
from components.settings import Settings
from flows import console
from flows.commands import named_columns

if TYPE_CHECKING:
    from components.labelling.queue_files import Format


def write_label_queue(
    name: str,
    settings: Settings,
    source: Path | None,
    target: Path,
    *,
    rows: int,
    kind: Format,
    columns: Sequence[str],
    version: int | None,
    as_json_object: bool,
) -> None:
    """Write the most useful rows of a pool for people to label.

    Args:
        source: the pool; None takes the texts in the request log.

    Raises:
        ProjectError: no version is live, its rows are not here, or the pool has nothing to label.
    """
    from components.labelling.known_rows import rows_behind
    from components.labelling.pool import known_texts, left_out_in_words, read_logged_pool, read_pool
    from components.labelling.queue import make_queue, truth_column
    from components.labelling.queue_files import Origin, require_ending, write_queue
    from components.models.model_directory import read_golden, read_manifest
    from components.models.prediction import require_folder
    from components.monitoring.request_lines import find_logs
    from components.serving.places import places_of
    from components.task_types import find_task_type
    from components.tracking import read_recipe

    require_ending(target, kind)
    require_folder(target)
    found = chosen_version(settings, name, version)
    model = registry.fetch_model(settings, found)
    manifest = read_manifest(model)
    column = truth_column(find_task_type(manifest.task_type))
    recipe, _ = read_recipe(settings, found)
    texts = list(read_golden(model)[0].row)
    named, config = named_columns(columns), recipe.run_config()
    known = known_texts(rows_behind(recipe, None, settings), texts, config.validation.near_duplicate_similarity)
    if source is None:
        own = places_of(settings, name).requests or Path()
        pool = read_logged_pool(find_logs(config.monitor.log, own, config.folder), texts, known)
    else:
        pool = read_pool(source, {text: named.get(text, text) for text in texts}, known)
    queue = make_queue(model, pool, known, rows)
    files = write_queue(target, kind, queue, Origin(name, found.version, manifest.labels, column))
    if as_json_object:
        content = {"model": name, "version": found.version, "rows": len(queue), "pool": pool.total}
        console.print_json({**content, "left_out": dict(pool.left_out), "files": [str(path) for path in files]})
        return
    console.print_text(
        f"{len(queue):,} rows to label, by {name} version {found.version}: {' and '.join(map(str, files))}"
    )
    gone = left_out_in_words(pool.left_out)
    console.say(f"Chosen from {len(pool.rows):,} of {pool.total:,} rows{f'; left out: {gone}' if gone else ''}.")
    console.say(f"Once column '{column}' is filled in, name the file under data.feedback of the run file.")


def chosen_version(settings: Settings, name: str, number: int | None) -> RegisteredVersion:
    """A version by its number, or the champion.

    Raises:
        RegistryError: there is none.
    """
    if number is not None:
        return registry.get_version(settings, name, number)
    live = registry.champion(settings, name)
    if live is None:
        known = ", ".join(registry.list_models(settings)) or "none"
        raise RegistryError(f"No version of '{name}' is live; models here: {known}.", "run its run file first.")
    return live
